"""RunProgress: one progress bar for a whole run, in epochs or optimizer steps."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from callbacks.trainer_state import total_steps

_DEFAULT_METRICS = ("train/accuracy", "test/accuracy")


class RunProgress(ProgressBar):
    """A progress bar over the run, followed by the last logged metrics.

    Lightning's own bar restarts every epoch, which is unreadable at fifty epochs per second. This
    one counts epochs, or optimizer steps if the module sets ``progress_unit = "step"``. It shows
    the metrics that the module lists in ``progress_metrics``, and tokens per second where measured.

    Args:
        refreshes_per_second: Upper bound on refreshes.

    Raises:
        ValueError: ``refreshes_per_second`` is not positive.
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
        self._metrics_changed = False

    def enable(self) -> None:
        self.enabled = True

    def disable(self) -> None:
        self.enabled = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._shown_at = 0.0
        self._by_step = getattr(pl_module, "progress_unit", "epoch") == "step"
        epochs = trainer.max_epochs if (trainer.max_epochs or -1) > 0 else None
        self._bar = tqdm(
            total=total_steps(trainer) if self._by_step else epochs,
            initial=trainer.global_step if self._by_step else trainer.current_epoch,
            desc="training",
            unit="step" if self._by_step else "epoch",
            # Smooth in a terminal; few lines in a log file.
            mininterval=1.0 / self.refreshes_per_second if sys.stderr.isatty() else 10.0,
            dynamic_ncols=True,
            disable=not self.enabled,
        )

    def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        if self._by_step and self._bar is not None:
            done = trainer.global_step - self._bar.n
            stride = trainer.log_every_n_steps
            self._metrics_changed |= bool(done and stride and trainer.global_step % stride == 0)
            self._bar.update(done)

    def on_validation_end(self, *args: Any, **kwargs: Any) -> None:
        self._metrics_changed = True

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        # At the start of the next step, because the module logs after this callback. The device has
        # nothing queued then, because logging waited for it.
        if self._by_step and self._metrics_changed:
            self._metrics_changed = False
            self._show_metrics(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._bar is None or self._by_step:
            return
        now = time.monotonic()
        if now - self._shown_at >= 1.0 / self.refreshes_per_second:
            # Not every epoch, because reading a metric may wait for the device.
            self._shown_at = now
            self._show_metrics(trainer, pl_module)
        self._bar.update()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._show_metrics(trainer, pl_module)
        self._close()

    def on_exception(self, *args: Any, **kwargs: Any) -> None:
        self._close()

    def print(self, *args: Any, **kwargs: Any) -> None:
        if self._bar is not None and not self._bar.disable:
            self._bar.write(" ".join(str(arg) for arg in args))
        else:
            super().print(*args, **kwargs)

    def _show_metrics(self, trainer: Any, module: L.LightningModule) -> None:
        if self._bar is None:
            return
        metrics = trainer.callback_metrics
        shown = {
            _label(name): _format(float(metrics[name]))
            for name in getattr(module, "progress_metrics", _DEFAULT_METRICS)
            if name in metrics
        }
        for callback in trainer.callbacks:
            if tokens := getattr(callback, "tokens_per_second", None):
                shown["tokens/s"] = f"{tokens:,.0f}"
        self._bar.set_postfix(shown, refresh=False)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _label(name: str) -> str:
    """train/accuracy as 'train', train/learning_rate as 'rate', val/loss as 'val loss'."""
    stage, _, metric = name.partition("/")
    if "/" in metric:  # a probe's
        return metric.rpartition("/")[2]
    return {"accuracy": stage, "learning_rate": "rate"}.get(metric, f"{stage} {metric}")


def _format(value: float) -> str:
    return f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.1e}"
