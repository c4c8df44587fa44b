"""Noticing that a loss became NaN, without waiting for the device at every step."""

from __future__ import annotations

import math

import lightning as L
import torch
from torch import Tensor


class NonFiniteMonitor:
    """Keeps on the device which optimizer step was the first without a finite loss or gradient.

    Args:
        hint: What the user may do, the end of the error's sentence.
    """

    def __init__(self, hint: str) -> None:
        self.hint = hint
        self._first_bad_step: Tensor | None = None

    def start(self, device: torch.device) -> None:
        """Begin anew."""
        self._first_bad_step = torch.full((), math.inf, device=device)

    def note(self, value: Tensor, step: int) -> None:
        """Look at a loss or the norm of a gradient of an optimizer step, counted from 1."""
        assert self._first_bad_step is not None
        bad = torch.where(value.detach().isfinite(), math.inf, float(step))
        self._first_bad_step = torch.minimum(self._first_bad_step, bad)

    def stop_if_diverged(self, module: L.LightningModule) -> None:
        """Refuse to go on after a value that was NaN or infinite, on any rank.

        Args:
            module: That is trained; its trainer knows the other ranks.

        Raises:
            ValueError: Names the step.
        """
        if self._first_bad_step is None:
            return
        # One rank's loss spoils the weights of all of them.
        reduce = module.trainer.strategy.reduce
        step = float(reduce(self._first_bad_step.clone(), reduce_op="min"))
        if math.isfinite(step):
            raise ValueError(
                f"the training loss became NaN or infinite at optimizer step {int(step)}; a "
                f"checkpoint from before it is kept; {self.hint}"
            )
