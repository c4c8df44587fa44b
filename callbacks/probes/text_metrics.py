"""Accuracy and mean capacity over texts, identical for any split into batches and ranks."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

IGNORED = -100  # the label of a row that does not count


class DeletionAccuracy(Metric):
    """Fraction of the texts that are classified correctly.

    ``Acc_S``, ``Acc_S̃(k)`` and ``Acc_S̃(r)`` of the SAFR paper's Table 1: one metric each for whole
    texts, texts without their highest words, and each random draw. Its sums are integers, so that
    no split of the texts changes a digit.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    correct: Tensor
    counted: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("correct", "counted"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add texts.

        Args:
            logits: (B, classes); a row with a nan is wrong, whatever its label.
            labels: (B,) int64; rows with label -100 do not count.
        """
        correct = (logits.argmax(dim=-1) == labels) & ~logits.isnan().any(dim=-1)
        self.correct += correct.sum()
        self.counted += (labels != IGNORED).sum()

    def compute(self) -> Tensor:
        """Accuracy in [0, 1], float64; nan if no text was counted."""
        return self.correct.double() / self.counted


class MeanCapacity(Metric):
    """Mean capacity of all, of important and of other tokens (SAFR paper, Table 3).

    Micro-averages: every token has the same weight, however long its text is. Sums are in float64,
    which Apple's GPUs lack; on these, keep the metric on the CPU. Inputs may be on any device.
    """

    full_state_update = False
    is_differentiable = False
    total: Tensor
    counted: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Important tokens, other tokens.
        self.add_state("total", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counted", torch.zeros(2, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, capacity: Tensor, important: Tensor, mask: Tensor, labels: Tensor) -> None:
        """Add texts.

        Args:
            capacity: (B, T), of one layer; values at padding are ignored.
            important: (B, T) bool.
            mask: (B, T) bool, true on real tokens.
            labels: (B,) int64; rows with label -100 do not count.
        """
        mask = mask & (labels != IGNORED)[:, None]
        groups = torch.stack([mask & important, mask & ~important]).to(self.total.device)
        values = capacity.detach().to(self.total.device).double()
        # where, not a product: a nan must stay in its own group (0 · nan is nan).
        # Not in place: a module that holds the metric may have cast the sum to bfloat16.
        self.total = self.total + torch.where(groups, values, 0.0).sum(dim=(1, 2))
        self.counted += groups.sum(dim=(1, 2))

    def compute(self) -> dict[str, Tensor]:
        """The means ``all``, ``important`` and ``other``, float64; nan for no token."""
        important, other = (self.total / self.counted).unbind()
        return {
            "all": self.total.sum() / self.counted.sum(),
            "important": important,
            "other": other,
        }
