"""Mean capacity of important and of other words, over all tokens of many texts."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from callbacks.metrics.deletion_accuracy import IGNORED


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
