"""Detect a NaN or infinite loss without waiting for the device at every step."""

from __future__ import annotations

import math

import lightning as L
import torch
from torch import Tensor


class NonFiniteMonitor:
    """Remembers, on the device, the first optimizer step with a non-finite loss or gradient."""

    def __init__(self, hint: str) -> None:
        self.hint = hint
        self._first_bad_step: Tensor | None = None

    def start(self, device: torch.device) -> None:
        """Forget everything that was observed."""
        self._first_bad_step = torch.full((), math.inf, device=device)

    def observe(self, value: Tensor, step: int) -> None:
        """Check the loss or gradient norm of an optimizer step, counted from 1."""
        assert self._first_bad_step is not None
        bad = torch.where(value.detach().isfinite(), math.inf, float(step))
        self._first_bad_step = torch.minimum(self._first_bad_step, bad)

    def raise_if_diverged(self, module: L.LightningModule) -> None:
        """Raise a ValueError if any rank observed a non-finite value; waits for the device."""
        if self._first_bad_step is None:
            return
        # One rank's gradients spoil the weights of all ranks.
        reduce = module.trainer.strategy.reduce
        step = float(reduce(self._first_bad_step.clone(), reduce_op="min"))
        if math.isfinite(step):
            raise ValueError(
                f"the training loss is NaN or infinite at optimizer step {int(step)}; checkpoints "
                f"from before that step are kept; {self.hint}"
            )
