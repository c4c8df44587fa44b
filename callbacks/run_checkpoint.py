"""RunCheckpoint: a run always ends with a checkpoint of its end."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor


class RunCheckpoint(ModelCheckpoint):
    """Keeps ``checkpoints/last.ckpt``: every so many epochs or steps, and when training ends.

    Lightning's own callback writes at the end only if it has never written before, so that a run of
    750 epochs with a checkpoint every 500 would end with that of epoch 500.

    Args:
        every_n_epochs: Write after every so many epochs.
        every_n_steps: Write after every so many optimizer steps instead.
        save_top_k: Keep so many further checkpoints, the best by ``monitor``; -1 keeps all.
        monitor: Name of the logged metric that says which are best. With ``every_n_steps`` and a
            metric of validation, a checkpoint that is due waits for the next validation, whose
            score is its own (``last.ckpt`` does not wait).
        mode: 'min' if a low value is good, 'max' if a high one is.
        filename: Name of these further checkpoints; null is ``epoch_{epoch}``, or ``step_{step}``
            with ``every_n_steps``.

    Raises:
        ValueError: A number is below 1.
    """

    def __init__(
        self,
        every_n_epochs: int = 500,
        every_n_steps: int | None = None,
        save_top_k: int = 0,
        monitor: str | None = None,
        mode: str = "min",
        filename: str | None = None,
    ) -> None:
        for name, value in (("every_n_epochs", every_n_epochs), ("every_n_steps", every_n_steps)):
            if value is not None and value < 1:
                raise ValueError(f"checkpoint.{name} is {value}; it must be at least 1")
        if filename is None:
            filename = "epoch_{epoch}" if every_n_steps is None else "step_{step}"
        super().__init__(
            every_n_epochs=every_n_epochs if every_n_steps is None else None,
            every_n_train_steps=every_n_steps,
            save_top_k=save_top_k,
            monitor=monitor,
            mode=mode,
            filename=filename,
            save_last=True,
            auto_insert_metric_name=False,
        )

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        # Not between the micro-batches of a step, whose gradients no checkpoint keeps: after a
        # resume the step before would seem to be due there.
        if (batch_idx + 1) % trainer.accumulate_grad_batches != 0:
            return
        if not (self.monitor or "").startswith("val/") or self._every_n_train_steps < 1:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        elif trainer.global_step % self._every_n_train_steps == 0:
            # Lightning would take the score of the validation before.
            self._defer_save_until_validation = True
            loop = trainer.fit_loop
            assert loop._data_fetcher is not None
            if not loop.epoch_loop._should_check_val_fx(loop._data_fetcher):
                self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Lightning copies all metrics first and then sees that nothing is due.
        if self._is_due(trainer):
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._is_due(trainer):
            super().on_validation_end(trainer, pl_module)

    def _is_due(self, trainer: L.Trainer) -> bool:
        every = self._every_n_epochs
        return every < 1 or (trainer.current_epoch + 1) % every == 0

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.fast_dev_run and self._last_global_step_saved != trainer.global_step:  # type: ignore[attr-defined]
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def _monitor_candidates(self, trainer: L.Trainer) -> dict[str, Tensor]:
        # A logged "step", which Lightning would name files by, is that of the last log.
        return {
            **super()._monitor_candidates(trainer),
            "step": torch.tensor(trainer.global_step),
        }
