"""Accuracy of a classifier on texts, whole or with words deleted, as exact counts."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

IGNORED = -100  # the label of a row that does not count


class DeletionAccuracy(Metric):
    """Share of the texts that are classified rightly.

    One metric each for the whole texts, those without their highest words, and each random draw:
    ``Acc_S``, ``Acc_S̃(k)`` and ``Acc_S̃(r)`` of the SAFR paper's Table 1. Sums are whole numbers,
    so that no split of the texts over batches or ranks changes a digit.
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
        """Add texts: logits (B, classes), labels (B,) int64; rows with label -100 do not count."""
        self.correct += is_correct(logits, labels).sum()
        self.counted += (labels != IGNORED).sum()

    def compute(self) -> Tensor:
        """Accuracy in [0, 1], float32; nan where no text was counted."""
        return self.correct / self.counted


def is_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """(B,) bool: the likeliest class is the label's. Logits with a nan are wrong, whatever it is.

    Args:
        logits: (B, classes).
        labels: (B,) int64; -100, which is no class, is never right.
    """
    return (logits.argmax(dim=-1) == labels) & ~logits.isnan().any(dim=-1)
