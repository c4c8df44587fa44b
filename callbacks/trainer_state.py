"""What callbacks ask a Trainer: its stage, how far it is, its run folder, values of other ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn


def is_fitting(trainer: L.Trainer) -> bool:
    """Whether this is `fit`, its validation included (where ``trainer.training`` is false)."""
    return trainer.state.fn == TrainerFn.FITTING


def validation_number(trainer: L.Trainer) -> int:
    """The number of the current validation, from 1.

    The epoch, or the number of validations so far where validation is scheduled by batches
    (``check_val_every_n_epoch: null``).
    """
    if _validates_by_batches(trainer):
        # Not global_step: under manual optimization a batch may be many optimizer steps.
        batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        return max(1, batches // int(trainer.val_check_interval))
    return trainer.current_epoch + 1


def is_last_validation(trainer: L.Trainer) -> bool:
    """Whether ``max_epochs`` or ``max_steps`` is reached; other ends of a run are not foreseen."""
    last_epoch = trainer.current_epoch + 1 == trainer.max_epochs
    return (
        last_epoch and not _validates_by_batches(trainer)
    ) or trainer.global_step == trainer.max_steps


def progress_text(trainer: L.Trainer) -> str:
    """The end of a figure's title: " · epoch 7" or " · step 7,000"; empty outside `fit`."""
    if not is_fitting(trainer):
        return ""
    if _validates_by_batches(trainer):
        return f" · step {trainer.global_step:,}"
    # During validation current_epoch is the number of completed epochs minus one.
    return f" · epoch {trainer.current_epoch + trainer.validating:,}"


def total_steps(trainer: L.Trainer) -> int | None:
    """Optimizer steps of the whole run; None where nothing limits them."""
    limits = [trainer.max_steps] if trainer.max_steps >= 0 else []
    per_epoch = getattr(getattr(trainer, "datamodule", None), "steps_per_epoch", None)
    if per_epoch is not None and trainer.max_epochs is not None and trainer.max_epochs >= 0:
        limits.append(trainer.max_epochs * per_epoch)
    return min(limits, default=None)


def run_folder(trainer: L.Trainer) -> Path | None:
    """The folder that a run writes to, its first logger's; None without a logger.

    Not ``trainer.log_dir``, which is the working directory without a logger and is a collective
    operation.
    """
    for logger in trainer.loggers:
        folder = logger.log_dir or logger.save_dir
        if folder is not None:
            return Path(folder)
    return None


def gathered(value: Any, trainer: L.Trainer) -> list[Any]:
    """The value of every rank, in the order of the ranks."""
    if trainer.world_size == 1:
        return [value]
    values: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(values, value)
    return values


def _validates_by_batches(trainer: L.Trainer) -> bool:
    return trainer.check_val_every_n_epoch is None and isinstance(trainer.val_check_interval, int)
