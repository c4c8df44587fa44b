"""RunCheckpoint: a run always ends with a checkpoint of its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from callbacks.run.checkpoint_io import AtomicCheckpointIO, remove_abandoned
from callbacks.run.graceful_stop import validation_is_due


class RunCheckpoint(ModelCheckpoint):
    """Keeps ``checkpoints/last.ckpt``: every so many epochs or steps, and when training ends.

    Lightning's own callback writes at the end only if it has never written before, so that a run of
    750 epochs with a checkpoint every 500 would end with that of epoch 500.

    The one before is kept as ``previous.ckpt``, should the last be damaged: two files a run, and
    three while one is written. A step that ends with a validation has its checkpoint after it, so
    that a run that is killed in the middle of a validation makes up for it when it is resumed; one
    that is told to stop writes before it as well, for it may not be given the time.

    Args:
        every_n_epochs: Write after every so many epochs, whether or not they end with a validation.
        every_n_steps: Write after every so many optimizer steps instead.
        save_top_k: Keep so many further checkpoints, the best by ``monitor``; -1 keeps all.
        monitor: Name of the logged metric that says which are best. With a metric of validation, a
            checkpoint that is due waits for the next validation, whose score is its own
            (``last.ckpt`` does not wait for a later step's).
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

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self._defer_save_until_validation = False
        self._validated_step = -1
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # the user named no other
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        if stage == "fit" and self.dirpath is not None and trainer.is_global_zero:
            remove_abandoned(Path(self.dirpath))

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
        if not pl_module.automatic_optimization:  # a batch is an epoch, and has its own end
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
            return
        every = self._every_n_train_steps
        due = every >= 1 and trainer.global_step % every == 0
        waits = due and validation_is_due(trainer)
        # Lightning would take the score of the validation before.
        scored_later = due and (self.monitor or "").startswith("val/")
        if waits or scored_later:
            self._defer_save_until_validation = True
        if trainer.should_stop or (scored_later and not waits):
            if not self._should_skip_saving_checkpoint(trainer):
                self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
        elif due and not waits:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Behind the epoch's last validation, if there is one. Lightning would leave all to
        # validations where these have a stride of their own, and there may be few, or none.
        every = self._every_n_epochs
        if every < 1 or self._should_skip_saving_checkpoint(trainer):
            return
        due = (trainer.current_epoch + 1) % every == 0
        validated = self._validated_step == trainer.global_step
        if due and self._waits_for_score(trainer, pl_module) and not validated:
            self._defer_save_until_validation = True
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
        elif due or (validated and self._defer_save_until_validation):
            self._defer_save_until_validation = False
            self._save_all(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._validated_step = trainer.global_step
        # By epochs there is a better moment at once.
        at_epoch_end = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if self._defer_save_until_validation and not (self._every_n_epochs >= 1 and at_epoch_end):
            self._defer_save_until_validation = False
            if not trainer.fast_dev_run:  # type: ignore[attr-defined]
                self._save_all(trainer)

    def _waits_for_score(self, trainer: L.Trainer, pl_module: L.LightningModule) -> bool:
        """Whether a further checkpoint needs the score of a validation that is still to come."""
        if self.monitor is None or self.save_top_k == 0:
            return False
        # A Classifier measures its training examples in validations as well.
        if self.monitor.startswith("train/") and pl_module.automatic_optimization:
            return False
        # One that a signal called off is still to come, in the run that goes on.
        return trainer.enable_validation or trainer.should_stop

    def _save_all(self, trainer: L.Trainer) -> None:
        candidates = self._monitor_candidates(trainer)
        self._save_topk_checkpoint(trainer, candidates)
        self._save_last_checkpoint(trainer, candidates)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.fast_dev_run and self._last_global_step_saved != trainer.global_step:  # type: ignore[attr-defined]
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def _monitor_candidates(self, trainer: L.Trainer) -> dict[str, Tensor]:
        # A logged "step", which Lightning would name files by, is that of the last log.
        return {
            **super()._monitor_candidates(trainer),
            "step": torch.tensor(trainer.global_step),
        }
