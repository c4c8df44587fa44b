"""Lightning's progress counters: the only file of this package that reads or writes them."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn

from glassbox.protocols import StepData


def steps_per_epoch(trainer: L.Trainer) -> int | None:
    """Optimizer steps of one epoch; None if the data module does not define it."""
    data = getattr(trainer, "datamodule", None)
    return data.steps_per_epoch if isinstance(data, StepData) else None


def last_step(trainer: L.Trainer) -> int | None:
    """Number of optimizer steps of the whole run; None if it is unlimited or unknown."""
    limits = [trainer.max_steps] if trainer.max_steps >= 0 else []
    per_epoch = steps_per_epoch(trainer)
    if per_epoch and trainer.max_epochs is not None and trainer.max_epochs >= 0:
        if trainer.lightning_module.automatic_optimization:
            limit = trainer.limit_train_batches  # a number of batches, or a fraction of them
            per_epoch = min(per_epoch, limit if isinstance(limit, int) else int(limit * per_epoch))
        limits.append(trainer.max_epochs * per_epoch)
    return min(limits, default=None)


def limit_by_steps(trainer: L.Trainer) -> None:
    """Replace ``max_epochs`` by the equal number of steps, when ``fit`` starts.

    Lightning counts an interrupted epoch as a whole one, so that a resumed run would lack the rest
    of it; optimizer steps are counted correctly.
    """
    if steps_per_epoch(trainer) and trainer.max_epochs is not None and trainer.max_epochs >= 0:
        steps = last_step(trainer)
        assert steps is not None
        trainer.fit_loop.epoch_loop.max_steps = steps
        trainer.fit_loop.max_epochs = -1


def rescale_batch_progress(trainer: L.Trainer | None, checkpoint: dict[str, Any]) -> None:
    """Set a checkpoint's micro-batch counters to this run's number of micro-batches per step.

    They differ from the saved run's if the device count or the micro-batch size changed.
    """
    if trainer is None or trainer.state.fn != TrainerFn.FITTING:
        return  # only weights are loaded
    per_epoch = steps_per_epoch(trainer)
    if not per_epoch:
        return
    step, times = checkpoint["global_step"], trainer.accumulate_grad_batches
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    # A checkpoint at the end of a step is written before its batch counts as completed.
    open_batches = progress["total"]["ready"] - progress["total"]["completed"]
    for name, steps in (("total", step), ("current", (step - 1) % per_epoch + 1)):
        count = progress[name]
        count["ready"] = count["started"] = count["processed"] = steps * times
        count["completed"] = steps * times - open_batches


def count_steps(trainer: L.Trainer, number: int) -> None:
    """Count optimizer steps that bypassed Lightning's optimizer wrapper."""
    epoch_loop = trainer.fit_loop.epoch_loop
    progress = epoch_loop.manual_optimization.optim_step_progress
    for count in (progress.total, progress.current):
        count.ready += number
        count.completed += number
    # Loggers number their rows by this counter of batches; make it one of optimizer steps, as in
    # figures and checkpoints. Lightning adds the 1 of this batch itself.
    epoch_loop._batches_that_stepped = trainer.global_step - 1
