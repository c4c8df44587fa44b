"""Congruence of two numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules.common.options import check_at_least
from datamodules.tasks.task import Task, all_pairs


class EquivalenceClasses(Task):
    """Decide whether two numbers are congruent modulo m.

    Rule: (x, y) -> "same" if x = y (mod m), else "different", for all size² ordered pairs (1,600).
    Swapping x and y states the same fact. With 40 numbers in 5 classes exactly 20 % of the pairs
    are "same": a model that always answers "different" scores 80 %.

    Vocabulary: tokens 0..size-1 are the numbers, ``size`` is "same", ``size + 1`` is "different";
    V = size + 2 (42). The two answers never occur in an input.

    Structure: m clusters, one per residue. Only the rows of the numbers have it; the two answer
    rows belong to no cluster.

    Source: harmonic loss paper, section 4.1, task 3; "equivalence" in the authors' code. Their
    explained-variance figure includes the two answer rows, their scatter plots do not; here
    ``embedding_tokens`` always leaves them out.

    Args:
        size: How many numbers there are, at least ``modulus`` (else classes would be empty).
        modulus: Number of classes m, at least 2.
    """

    name = "equivalence"
    num_inputs = 2
    symmetric = True
    structure = "classes"
    group_kind = "categorical"

    def __init__(self, size: int = 40, modulus: int = 5) -> None:
        check_at_least(2, modulus=modulus)
        check_at_least(modulus, size=size)
        self.size = size
        self.modulus = modulus

    @property
    def vocab_size(self) -> int:
        return self.size + 2

    def examples(self) -> tuple[Tensor, Tensor]:
        inputs = all_pairs(self.size)
        residues = inputs % self.modulus
        return inputs, torch.where(residues[:, 0] == residues[:, 1], self.size, self.size + 1)

    def equivalent_inputs(self, inputs: Tensor) -> Tensor:
        return self.input_ids(inputs.sort(dim=1).values)

    @property
    def embedding_tokens(self) -> Tensor:
        return torch.arange(self.size)

    @property
    def token_labels(self) -> list[str]:
        return [*(str(value) for value in range(self.size)), "same", "different"]

    @property
    def token_groups(self) -> Tensor:
        return self.embedding_tokens % self.modulus
