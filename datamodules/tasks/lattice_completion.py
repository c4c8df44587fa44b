"""Parallelograms on a grid, the geometry of word analogies."""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules.common.options import check_at_least
from datamodules.tasks.task import Task


class LatticeCompletion(Task):
    """Complete a parallelogram on a square grid (the paper's "in-context learning").

    Rule: (x0, x1, x2) -> x1 + x2 - x0 as vectors, for every triple whose fourth corner lies on the
    grid; degenerate parallelograms count (7,225 triples for side 5). It is the analogy
    "x0 is to x1 as x2 is to ...". Swapping x1 and x2 states the same fact.

    Vocabulary: token side * row + column is a grid point; V = side² (25).

    Structure: a lattice. In a plane where the points form a grid (possibly sheared or stretched),
    the rule is vector arithmetic.

    Source: harmonic loss paper, section 4.1, task 1; "lattice" in the authors' code. That code
    draws triples of points and keeps the first ones with a valid fourth corner, which is the same
    distribution as ``draw``: uniform over the valid triples.

    Args:
        side: Points along one side of the grid, at least 2.
    """

    name = "lattice"
    num_inputs = 3
    symmetric = True
    structure = "lattice"
    group_kind = "sequential"

    def __init__(self, side: int = 5) -> None:
        check_at_least(2, side=side)
        self.side = side

    @property
    def vocab_size(self) -> int:
        return self.side**2

    def examples(self) -> tuple[Tensor, Tensor]:
        # Rows and columns obey the rule independently: list the valid coordinate quadruples of one
        # axis (85 for side 5) and pair them with themselves, 85² = 7,225.
        values = torch.arange(self.side)
        triples = torch.cartesian_prod(values, values, values)  # (side³, 3)
        fourth = triples[:, 1] + triples[:, 2] - triples[:, 0]
        axis = torch.column_stack((triples, fourth))[(fourth >= 0) & (fourth < self.side)]
        points = self.side * axis[:, None] + axis[None, :]  # rows, columns -> (A, A, 4) token ids
        points = points.reshape(-1, 4)
        return points[:, :3].contiguous(), points[:, 3].contiguous()

    def equivalent_inputs(self, inputs: Tensor) -> Tensor:
        # Only the two neighbors of x0 are interchangeable.
        return self.input_ids(torch.column_stack((inputs[:, 0], inputs[:, 1:].sort(dim=1).values)))

    @property
    def token_labels(self) -> list[str]:
        return [f"({row},{column})" for row in range(self.side) for column in range(self.side)]

    @property
    def token_groups(self) -> Tensor:
        return self.embedding_tokens // self.side  # the row

    @property
    def edges(self) -> Tensor:
        grid = self.embedding_tokens.view(self.side, self.side)
        along_rows = torch.stack((grid[:, :-1], grid[:, 1:]), dim=-1).reshape(-1, 2)
        along_columns = torch.stack((grid[:-1], grid[1:]), dim=-1).reshape(-1, 2)
        return torch.cat((along_rows, along_columns))
