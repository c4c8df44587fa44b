"""Private names of Lightning 2.6 that these callbacks need. A test checks that each exists."""

from __future__ import annotations

import lightning as L

# What Lightning's profiler calls the wait for the next training batch.
FETCH_ACTION = "[_TrainingEpochLoop].train_dataloader_next"


def validation_is_due(trainer: L.Trainer) -> bool:
    """Whether validation follows the current training step even if the run is not stopped here."""
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    should_stop, trainer.should_stop = trainer.should_stop, False
    try:
        return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)
    finally:
        trainer.should_stop = should_stop


def disable_sigterm_broadcast(trainer: L.Trainer) -> None:
    """Keep the ranks from exchanging a SIGTERM flag, and waiting for it, before every batch."""
    loop = trainer.fit_loop.epoch_loop
    if hasattr(loop, "_broadcast_sigterm_tensor"):
        vars(loop)["_broadcast_sigterm_tensor"] = lambda: None


def restore_sigterm_broadcast(trainer: L.Trainer) -> None:
    """Undo ``disable_sigterm_broadcast``."""
    vars(trainer.fit_loop.epoch_loop).pop("_broadcast_sigterm_tensor", None)


def set_logged_steps(trainer: L.Trainer, steps: int) -> None:
    """Set the counter by which Lightning decides when to log, and at which step."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = steps
