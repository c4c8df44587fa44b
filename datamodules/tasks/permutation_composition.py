"""Composition of permutations."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from datamodules.common.options import check_at_least
from datamodules.tasks.task import Task, all_pairs

MAX_DEGREE = 6  # 720² = 518,400 examples; degree 7 would have 25 million


class PermutationComposition(Task):
    """Compose two permutations.

    Rule: (x, y) -> x∘y, which applies y first: (x∘y)(i) = x[y[i]]. All 24² = 576 ordered pairs at
    degree 4. Composition does not commute: swapping x and y states another fact.

    Vocabulary: the permutations of 0..degree-1 in lexicographic order, token 0 being the identity;
    V = degree! (24). Labels are one-line notation: "2031" sends 0 to 2, 1 to 0, 2 to 3, 3 to 1.

    Structure: clusters that are the cosets of a subgroup, which differs between runs.

    Source: harmonic loss paper, section 4.1, task 5; "permutation" in the authors' code.

    Args:
        degree: Number of permuted items, 2 to 6.
    """

    name = "permutation"
    num_inputs = 2
    symmetric = False
    structure = "cosets"
    group_kind = "categorical"

    def __init__(self, degree: int = 4) -> None:
        check_at_least(2, degree=degree)
        if degree > MAX_DEGREE:
            raise ValueError(
                f"degree is {degree}; it must be at most {MAX_DEGREE}: the table has degree!² rows"
            )
        self.degree = degree

    @property
    def vocab_size(self) -> int:
        return math.factorial(self.degree)

    @property
    def permutations(self) -> Tensor:
        """The permutation behind each token, (V, degree) int64."""
        return torch.tensor(list(itertools.permutations(range(self.degree))))

    def examples(self) -> tuple[Tensor, Tensor]:
        permutations = self.permutations
        inputs = all_pairs(self.vocab_size)
        outer, inner = permutations[inputs[:, 0]], permutations[inputs[:, 1]]
        composed = outer.gather(1, inner)  # composed[n, i] = outer[n, inner[n, i]]
        # As digits of a number, permutations in lexicographic order increase: binary search.
        place_values = self.degree ** torch.arange(self.degree - 1, -1, -1)
        codes = (permutations * place_values).sum(dim=1)
        return inputs, torch.searchsorted(codes, (composed * place_values).sum(dim=1))

    def draw(self, num_samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the whole table once, in random order.

        The authors' code samples the other tasks with replacement but lists this one completely
        for any size, so this task alone leaks no test input into training.

        Args:
            num_samples: Ignored.
            generator: CPU random generator; the same state gives the same order.

        Returns:
            inputs (V², 2) int64 and answers (V²,) int64.
        """
        inputs, answers = self.examples()
        order = torch.randperm(len(answers), generator=generator)
        return inputs[order], answers[order]

    @property
    def token_labels(self) -> list[str]:
        return ["".join(map(str, images)) for images in itertools.permutations(range(self.degree))]

    @property
    def token_groups(self) -> Tensor:
        permutations = self.permutations
        descending = permutations[:, :, None] > permutations[:, None, :]  # (V, degree, degree)
        inversions = descending.triu(diagonal=1).sum(dim=(1, 2))
        return inversions % 2  # parity: 0 even, 1 odd
