"""Comparison of two numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules.common.options import check_at_least
from datamodules.tasks.task import Task, all_pairs


class GreaterThan(Task):
    """Compare two numbers.

    Rule: (x, y) -> ">" if x > y, else "<=", for all size² ordered pairs (900). Swapping x and y
    states another fact.

    Vocabulary: tokens 0..size-1 are the numbers, ``size`` is "<=", ``size + 1`` is ">";
    V = size + 2 (32). The two answers never occur in an input.

    Structure: a line (straight or bent) along which the numbers lie in order.

    Source: "greater" in the authors' code; the harmonic loss paper does not mention it.

    Args:
        size: How many numbers there are, at least 2.
    """

    name = "greater_than"
    num_inputs = 2
    symmetric = False
    structure = "line"
    group_kind = "sequential"

    def __init__(self, size: int = 30) -> None:
        check_at_least(2, size=size)
        self.size = size

    @property
    def vocab_size(self) -> int:
        return self.size + 2

    def examples(self) -> tuple[Tensor, Tensor]:
        inputs = all_pairs(self.size)
        return inputs, torch.where(inputs[:, 0] > inputs[:, 1], self.size + 1, self.size)

    @property
    def embedding_tokens(self) -> Tensor:
        return torch.arange(self.size)

    @property
    def token_labels(self) -> list[str]:
        return [*(str(value) for value in range(self.size)), "<=", ">"]

    @property
    def token_groups(self) -> Tensor:
        return self.embedding_tokens

    @property
    def edges(self) -> Tensor:
        numbers = self.embedding_tokens
        return torch.column_stack((numbers[:-1], numbers[1:]))
