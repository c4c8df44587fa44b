"""RunProgress: one progress bar for a whole run, over epochs or over optimizer steps."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from callbacks.trainer_state import total_steps

_SCORES = ("train/accuracy", "test/accuracy")


class RunProgress(ProgressBar):
    """A bar over the run, with the last logged scores behind it.

    Lightning's own bar starts anew every epoch, which cannot be read at fifty epochs a second. This
    one counts epochs, or optimizer steps where the module says ``progress_unit = "step"``, and
    refreshes at most ``refreshes_per_second`` times a second, with what was logged last: the
    metrics that the module names in ``progress_metrics``, and tokens per second where measured.

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
        self._by_step = False
        self._scores_changed = False

    def enable(self) -> None:
        self.enabled = True

    def disable(self) -> None:
        self.enabled = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._shown_at = 0.0
        self._by_step = getattr(pl_module, "progress_unit", "epoch") == "step"
        epochs = trainer.max_epochs if (trainer.max_epochs or -1) >= 0 else None
        self._bar = tqdm(
            total=total_steps(trainer) if self._by_step else epochs,
            initial=trainer.global_step if self._by_step else trainer.current_epoch,
            desc="training",
            unit="step" if self._by_step else "epoch",
            # A log file gets a line now and then, a terminal a smooth bar.
            mininterval=1.0 / self.refreshes_per_second if sys.stderr.isatty() else 10.0,
            dynamic_ncols=True,
            disable=not self.enabled,
        )

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self._by_step and self._bar is not None:
            done = trainer.global_step - self._bar.n
            stride = trainer.log_every_n_steps  # type: ignore[attr-defined]
            self._scores_changed |= bool(done and stride and trainer.global_step % stride == 0)
            self._bar.update(done)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._scores_changed = True

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # Only now, since the module logs after this callback's turn; the device, which logging has
        # waited for, has nothing queued yet.
        if self._by_step and self._scores_changed:
            self._scores_changed = False
            self._show_scores(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._bar is None or self._by_step:
            return
        now = time.monotonic()
        if now - self._shown_at >= 1.0 / self.refreshes_per_second:
            self._shown_at = now  # reading a score may wait for the device, so not every epoch
            self._show_scores(trainer, pl_module)
        self._bar.update()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._show_scores(trainer, pl_module)
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

    def _show_scores(self, trainer: L.Trainer, module: Any) -> None:
        if self._bar is None:
            return
        scores = trainer.callback_metrics
        shown = {
            _label(name): _text(float(scores[name]))
            for name in getattr(module, "progress_metrics", _SCORES)
            if name in scores
        }
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if tokens := getattr(callback, "tokens_per_second", None):
                shown["tokens/s"] = f"{tokens:,.0f}"
        self._bar.set_postfix(shown, refresh=False)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _label(name: str) -> str:
    """train/accuracy as 'train', train/learning_rate as 'rate', val/loss as 'val loss'."""
    stage, _, score = name.partition("/")
    if "/" in score:  # a probe's
        return score.rpartition("/")[2]
    return {"accuracy": stage, "learning_rate": "rate"}.get(score, f"{stage} {score}")


def _text(value: float) -> str:
    return f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.1e}"
