"""GracefulStop: Ctrl-C ends a run instead of losing it."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any

import lightning as L


class GracefulStop(L.Callback):
    """At Ctrl-C let the optimizer step end, then close the run as if it had been the last.

    (A ``Classifier``'s epoch is one batch, and ends as a whole.) The checkpoint, results and
    figures so far are kept, and a run that is resumed from them ends with the same bits as one that
    was never stopped. A second Ctrl-C stops at once. Several ranks stop together, at the next step
    that is logged, whichever of them the signal came to.

    Attributes:
        stopped: Whether the run was stopped so.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._before: Any = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.stopped = False
        if threading.current_thread() is not threading.main_thread():
            return  # signals are the main thread's

        def stop(signum: int, frame: FrameType | None) -> None:
            if self.stopped:
                raise KeyboardInterrupt
            self.stopped = True
            if trainer.is_global_zero:
                print("\nstopping after this step; Ctrl-C again stops at once", file=sys.stderr)

        self._before = signal.signal(signal.SIGINT, stop)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        # Not between the micro-batches of a step, whose gradients no checkpoint keeps.
        if (batch_idx + 1) % trainer.accumulate_grad_batches != 0:
            return
        if trainer.world_size > 1:
            # A signal reaches ranks at different steps, and a rank that stopped alone would leave
            # the others waiting. Asking them waits for the device, as logging does anyway.
            if trainer.global_step % (trainer.log_every_n_steps or 1) != 0:  # type: ignore[attr-defined]
                return
            if trainer.strategy.reduce_boolean_decision(self.stopped, all=False):
                self.stopped = True
                trainer.should_stop = True
        elif self.stopped:
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restore()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None
