"""Accuracy and mean capacity over many texts, the same over any split into batches and ranks."""

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
        """Accuracy in [0, 1], float64; nan where no text was counted."""
        return self.correct.double() / self.counted


def is_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """(B,) bool: the likeliest class is the label's. Logits with a nan are wrong, whatever it is.

    Args:
        logits: (B, classes).
        labels: (B,) int64; -100, which is no class, is never right.
    """
    return (logits.argmax(dim=-1) == labels) & ~logits.isnan().any(dim=-1)


class MeanCapacity(Metric):
    """Mean capacity of all, of the important and of the other tokens (SAFR paper, Table 3).

    Micro-averages: every token counts the same, however long its text is. Sums are taken in
    float64, which Apple's GPUs lack: there the metric stays on the CPU, and takes its input from
    any device.
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

    def update(
        self, capacity: Tensor, important: Tensor, mask: Tensor, labels: Tensor | None = None
    ) -> None:
        """Add texts.

        Args:
            capacity: (B, T), of one layer; what stands at padding is not read.
            important: (B, T) bool.
            mask: (B, T) bool, true on real tokens.
            labels: (B,) int64; rows with label -100 do not count. None counts all.
        """
        if labels is not None:
            mask = mask & (labels != IGNORED)[:, None]
        groups = torch.stack([mask & important, mask & ~important]).to(self.total.device)
        values = capacity.detach().to(self.total.device).double()
        # where, not a product: a nan must stay in its own group (0 · nan is nan).
        # Not in place: a module that holds the metric and is cast to bfloat16 casts it as well.
        self.total = self.total + torch.where(groups, values, 0.0).sum(dim=(1, 2))
        self.counted += groups.sum(dim=(1, 2))

    def compute(self) -> dict[str, Tensor]:
        """The means ``all``, ``important`` and ``other``, float64; nan where there is no token."""
        important, other = (self.total / self.counted).unbind()
        return {
            "all": self.total.sum() / self.counted.sum(),
            "important": important,
            "other": other,
        }
