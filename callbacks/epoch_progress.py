"""EpochProgress: one progress bar over epochs, for runs whose epochs last milliseconds."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm


class EpochProgress(ProgressBar):
    """A bar that counts epochs, with the last logged scores behind it.

    Lightning's own bar starts anew every epoch, which cannot be read at fifty epochs a second. This
    one refreshes at most ``refreshes_per_second`` times a second, with what was logged last.

    Args:
        refreshes_per_second: Upper bound on refreshes.
    """

    def __init__(self, refreshes_per_second: float = 5.0) -> None:
        super().__init__()
        if not refreshes_per_second > 0:
            raise ValueError(f"refreshes_per_second is {refreshes_per_second}; it must be positive")
        self.refreshes_per_second = refreshes_per_second
        self.enabled = True
        self._bar: tqdm[Any] | None = None
        self._shown_at = 0.0

    def enable(self) -> None:
        self.enabled = True

    def disable(self) -> None:
        self.enabled = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._shown_at = 0.0
        epochs = trainer.max_epochs if (trainer.max_epochs or -1) >= 0 else None
        self._bar = tqdm(
            total=epochs,
            initial=trainer.current_epoch,
            desc="training",
            unit="epoch",
            # A log file gets a line now and then, a terminal a smooth bar.
            mininterval=1.0 / self.refreshes_per_second if sys.stderr.isatty() else 10.0,
            dynamic_ncols=True,
            disable=not self.enabled,
        )

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._bar is None:
            return
        now = time.monotonic()
        if now - self._shown_at >= 1.0 / self.refreshes_per_second:
            self._shown_at = now  # reading a score may wait for the device, so not every epoch
            self._show_scores(trainer)
        self._bar.update()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._show_scores(trainer)
        self._close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._close()

    def print(self, *args: Any, **kwargs: Any) -> None:
        if self._bar is not None and not self._bar.disable:
            self._bar.write(" ".join(str(arg) for arg in args))
        else:
            super().print(*args, **kwargs)

    def _show_scores(self, trainer: L.Trainer) -> None:
        scores = trainer.callback_metrics
        shown = {
            label: f"{float(scores[name]):.3f}"
            for label, name in (("train", "train/accuracy"), ("test", "test/accuracy"))
            if name in scores
        }
        if self._bar is not None:
            self._bar.set_postfix(shown, refresh=False)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
