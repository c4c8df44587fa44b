"""RunCheckpoint: last.ckpt at regular intervals and at the end of a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from callbacks.run.checkpoint_io import LAST, AtomicCheckpointIO, remove_abandoned
from callbacks.run.lightning_internals import validation_is_due
from callbacks.trainer_state import run_folder


class RunCheckpoint(Checkpoint):
    """Write ``checkpoints/last.ckpt`` every few epochs or steps, and when training ends.

    The previous file is kept as ``previous.ckpt`` in case the last one is damaged. If a step ends
    with validation, the checkpoint is written afterwards, so a run killed during validation repeats
    it on resume. A run stopped by a signal writes it before validation as well, since there may be
    no time left afterwards.

    To keep the best checkpoints by a metric, add Lightning's ``ModelCheckpoint`` to
    ``trainer.callbacks``.

    Args:
        every_n_epochs: Write after every this many epochs, with or without validation.
        every_n_steps: Write after every this many optimizer steps instead.

    Attributes:
        dirpath: Folder of the checkpoints; None means ``checkpoints`` in the run's folder.

    Raises:
        ValueError: A number is below 1.
    """

    best_model_path = ""  # Lightning reads it for ckpt_path="best": there is no best checkpoint

    def __init__(self, every_n_epochs: int = 500, every_n_steps: int | None = None) -> None:
        for name, value in (("every_n_epochs", every_n_epochs), ("every_n_steps", every_n_steps)):
            if value is not None and value < 1:
                raise ValueError(f"checkpoint.{name} is {value}; it must be at least 1")
        self.every_n_epochs = every_n_epochs
        self.every_n_steps = every_n_steps
        self.dirpath: str | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # not the user's own
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        root = run_folder(trainer) or trainer.default_root_dir
        folder = trainer.strategy.broadcast(self.dirpath or os.path.join(root, "checkpoints"))
        self._path = os.path.join(folder, f"{LAST}.ckpt")
        self._step = self._saved_step = 0
        self._waits_for_validation = False
        if stage == "fit" and trainer.is_global_zero:
            remove_abandoned(Path(folder))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        previous, self._step = self._step, trainer.global_step
        if self._step == previous:  # gradients still being accumulated are not in a checkpoint
            return
        due = self.every_n_steps is not None and self._step % self.every_n_steps == 0
        stops = trainer.should_stop
        if pl_module.automatic_optimization:
            self._waits_for_validation = due and validation_is_due(trainer)
        else:
            stops = False  # a batch is an epoch, and saves when that ends
        if stops or (due and not self._waits_for_validation):
            self._save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._waits_for_validation and not trainer.sanity_checking:
            self._waits_for_validation = False
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        due = self.every_n_steps is None and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if due and self._saved_step != trainer.global_step:
            self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._saved_step != trainer.global_step:
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(self._path)
            self._saved_step = trainer.global_step
