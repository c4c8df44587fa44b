"""The private names of Lightning that callbacks.run.lightning_internals uses still exist."""

from __future__ import annotations

import inspect

from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

from callbacks.run.lightning_internals import FETCH_ACTION


def test_the_wait_for_a_batch_has_the_name_that_speed_listens_to():
    loop, _, action = FETCH_ACTION.partition("].")
    assert loop[1:] == _TrainingEpochLoop.__name__
    assert action in inspect.getsource(_TrainingEpochLoop._on_before_fetch)


def test_the_loop_asks_whether_to_validate_by_the_same_function():
    assert list(inspect.signature(_TrainingEpochLoop._should_check_val_fx).parameters) == [
        "self",
        "data_fetcher",
    ]
    assert "_should_check_val_fx" in _TrainingEpochLoop.on_advance_end.__code__.co_names
    assert "_data_fetcher" in _FitLoop.__init__.__code__.co_names


def test_the_loop_still_broadcasts_a_flag_before_every_batch():
    """If not, disable_sigterm_broadcast can go."""
    assert "_broadcast_sigterm_tensor" in _TrainingEpochLoop.advance.__code__.co_names
    assert callable(_TrainingEpochLoop._broadcast_sigterm_tensor)


def test_the_loop_still_counts_logged_steps():
    """If not, set_logged_steps can go."""
    assert "_batches_that_stepped" in _TrainingEpochLoop.on_advance_end.__code__.co_names
