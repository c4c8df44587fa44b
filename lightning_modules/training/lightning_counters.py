"""Runs that are counted in optimizer steps, so that they go on in the middle of an epoch."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.trainer.states import TrainerFn


def last_step(trainer: Any) -> int | None:
    """Number of optimizer steps of the whole run; None where nothing limits it."""
    limits = [trainer.max_steps] if trainer.max_steps >= 0 else []
    steps_per_epoch = getattr(trainer.datamodule, "steps_per_epoch", None)
    if steps_per_epoch and trainer.max_epochs is not None and trainer.max_epochs >= 0:
        limit = trainer.limit_train_batches  # a number of batches, or a share of them
        most = limit if isinstance(limit, int) else int(limit * steps_per_epoch)
        limits.append(trainer.max_epochs * min(steps_per_epoch, most))
    return min(limits, default=None)


def limit_by_steps(trainer: Any) -> None:
    """Let a run of so many epochs end at its last step, when ``fit`` starts.

    Lightning counts an epoch that was interrupted as a whole one, so that a resumed run would lack
    the rest of it; steps are counted right.
    """
    known = getattr(trainer.datamodule, "steps_per_epoch", None)
    if known and trainer.max_epochs is not None and trainer.max_epochs >= 0:
        trainer.fit_loop.epoch_loop.max_steps = last_step(trainer)
        trainer.fit_loop.max_epochs = -1


def rescale_batch_progress(trainer: Any, checkpoint: dict[str, Any]) -> None:
    """Tell Lightning, which counts micro-batches, where a checkpoint's step is among this run's.

    They are others than those of the run that wrote the checkpoint where the devices or the size of
    a micro-batch are others.

    Args:
        trainer: The run's; None in a notebook that only loads weights.
        checkpoint: Lightning's, changed in place.
    """
    per_epoch = getattr(getattr(trainer, "datamodule", None), "steps_per_epoch", None)
    if trainer is None or trainer.state.fn != TrainerFn.FITTING or not per_epoch:
        return
    step, times = checkpoint["global_step"], trainer.accumulate_grad_batches
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    # A checkpoint at the end of a step is written before its batch counts as completed.
    open_batches = progress["total"]["ready"] - progress["total"]["completed"]
    for name, steps in (("total", step), ("current", (step - 1) % per_epoch + 1)):
        count = progress[name]
        count["ready"] = count["started"] = count["processed"] = steps * times
        count["completed"] = steps * times - open_batches
