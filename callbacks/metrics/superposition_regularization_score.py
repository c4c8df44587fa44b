"""SRS(k): the accuracy a classifier loses with the k % highest-scored words of every text."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from callbacks.metrics.deletion_accuracy import IGNORED, is_correct


class SuperpositionRegularizationScore(Metric):
    """Accuracy on whole texts minus accuracy on the same texts without their highest words.

    A share, as all accuracies here: the paper's 18.24 points are 0.1824. Negative where deletion
    helps. Sums are whole numbers, so that no split of the texts over batches or ranks changes a
    digit.

    Source: SAFR paper §4, "Evaluation".
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    lost: Tensor
    counted: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("lost", "counted"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits_full: Tensor, logits_deleted: Tensor, labels: Tensor) -> None:
        """Add texts.

        Args:
            logits_full: (B, classes) of the whole texts.
            logits_deleted: (B, classes) of the same texts without their highest words.
            labels: (B,) int64; rows with label -100 do not count.
        """
        self.lost += is_correct(logits_full, labels).sum()
        self.lost -= is_correct(logits_deleted, labels).sum()
        self.counted += (labels != IGNORED).sum()

    def compute(self) -> Tensor:
        """SRS in [-1, 1], float32; nan where no text was counted."""
        return self.lost / self.counted
