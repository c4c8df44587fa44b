"""What Speed leaves out: warm-up, validation, checkpoints, and what lies between and after."""

from __future__ import annotations

from datetime import timedelta

import lightning as L
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint, Timer

from tests.helpers.speed_clock import (
    FETCH,
    SLOW,
    STEP,
    TOKENS,
    Clock,
    Loader,
    Model,
    SlowToOpen,
    assert_steady,
    timed,
    train,
)

# ---- warm-up -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("warmup", "first"), [(2, 5), (4, 5), (5, 10), (7, 10)])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_warm_up_is_left_out(warmup, first, accumulation):
    clock = Clock()
    callback = timed(clock, warmup_steps=warmup)
    _, logged = train(
        clock,
        callback,
        model=Model(clock, slow_steps=warmup),
        accumulate_grad_batches=accumulation,
    )
    assert min(logged) == first
    for figures in logged.values():
        assert_steady(figures, accumulation)
    assert_steady(callback.summary, accumulation)
    assert callback.summary["tokens"] == 20 * accumulation * TOKENS
    assert callback.summary["seconds"] == (20 - warmup) * accumulation * (FETCH + STEP)


def test_a_shorter_warm_up_does_not_leave_out_more():
    clock = Clock()
    _, logged = train(
        clock, timed(clock, warmup_steps=2), model=Model(clock, slow_steps=3), max_steps=5
    )
    assert logged[5]["step_seconds"] == (SLOW + 2 * STEP + 3 * FETCH) / 3


def test_a_run_that_ends_while_warming_up_has_no_speed():
    clock = Clock()
    callback = timed(clock, warmup_steps=20)
    _, logged = train(clock, callback)
    assert logged == {} and callback.tokens_per_second is None
    assert set(callback.summary) == {"tokens", "seconds", "peak_memory_mib"}
    assert callback.summary["seconds"] == 0.0 and callback.summary["tokens"] == 20 * TOKENS
    assert callback.summary_metrics == ["speed/peak_memory_mib"]


def test_a_resumed_run_warms_up_anew_and_goes_on_at_the_same_steps(tmp_path):
    class Resumable(Loader):
        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    clock = Clock()
    first = timed(clock, warmup_steps=2)
    trainer, logged = train(clock, first, loader=Resumable(clock), max_steps=7)
    assert list(logged) == [5]
    trainer.save_checkpoint(tmp_path / "seven.ckpt")
    second, model = timed(clock, warmup_steps=4), Model(clock, slow_steps=4)
    _, logged = train(
        clock,
        second,
        model=model,
        loader=Resumable(clock),
        ckpt_path=tmp_path / "seven.ckpt",
        max_steps=20,
    )
    assert model.steps == 13 and list(logged) == [15, 20]  # 8 to 11 warm up, 12 to 15 are logged
    for figures in logged.values():
        assert_steady(figures)
    assert second.summary["tokens"] == 13 * TOKENS
    assert second.summary["seconds"] == 9 * (FETCH + STEP)


def test_the_same_callback_starts_anew_with_every_fit():
    clock = Clock()
    callback = timed(clock, warmup_steps=2)
    train(clock, callback, model=Model(clock))
    _, logged = train(clock, callback, model=Model(clock, slow_steps=2), max_steps=10)
    assert_steady(logged[5])
    assert callback.summary["tokens"] == 10 * TOKENS
    assert callback.summary["seconds"] == 8 * (FETCH + STEP)


# ---- pauses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("interval", [3, 5, 8])  # with batches before, at and after log steps
@pytest.mark.parametrize("workers", [Loader, SlowToOpen])
def test_validation_is_left_out(interval, accumulation, workers):
    clock = Clock()
    callback, model = timed(clock, warmup_steps=2), Model(clock)
    _, logged = train(
        clock,
        callback,
        model=model,
        val=workers(clock, 2),
        val_check_interval=interval,
        check_val_every_n_epoch=None,
        accumulate_grad_batches=accumulation,
    )
    assert model.validated >= 2 * 2
    assert list(logged) == [5, 10, 15, 20]
    for figures in logged.values():
        assert_steady(figures, accumulation)
    assert_steady(callback.summary, accumulation)


@pytest.mark.parametrize("every", [3, 5])
def test_writing_checkpoints_is_left_out(every, tmp_path):
    clock = Clock()
    callback, model = timed(clock, warmup_steps=0), Model(clock)
    checkpoints = ModelCheckpoint(tmp_path, every_n_train_steps=every, save_top_k=-1)
    _, logged = train(clock, callback, checkpoints, model=model, enable_checkpointing=True)
    assert model.saved == 20 // every
    for figures in logged.values():
        assert_steady(figures)
    assert_steady(callback.summary)


def test_a_checkpoint_that_an_earlier_callback_writes_costs_no_tokens(tmp_path):
    class Saves(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step % 5 == 0:
                trainer.save_checkpoint(tmp_path / "now.ckpt")

    clock = Clock()
    model = Model(clock)
    _, logged = train(clock, Saves(), timed(clock, warmup_steps=0), model=model)
    assert model.saved == 4 and list(logged) == [5, 10, 15, 20]
    for figures in logged.values():
        assert_steady(figures)


def test_time_between_epochs_is_left_out():
    class Measures(L.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            clock.now += SLOW

        on_train_epoch_start = on_train_epoch_end

    clock = Clock()
    callback = timed(clock, warmup_steps=0)
    _, logged = train(clock, Measures(), callback, loader=Loader(clock, 7))
    for figures in logged.values():
        assert_steady(figures)
    assert_steady(callback.summary)


@pytest.mark.parametrize("validates", [False, True])
def test_the_end_of_training_is_left_out(validates):
    class Measures(L.Callback):
        def on_train_end(self, trainer, pl_module):
            clock.now += SLOW

    class Stops(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            trainer.should_stop = trainer.global_step >= 12

    for stops in ([], [Stops(), "before"], [Stops(), "after"]):
        clock = Clock()
        callback, model = timed(clock, warmup_steps=0), Model(clock)
        order = [callback, *stops[:1]] if "after" in stops else [*stops[:1], callback]
        val = Loader(clock, 2) if validates else None
        train(clock, Measures(), *order, model=model, val=val)
        assert bool(model.validated) == (validates and bool(stops))
        steps = 12 if stops else 20
        assert callback.summary["tokens"] == steps * TOKENS
        assert callback.summary["seconds"] == steps * (FETCH + STEP)


def test_max_time_ends_the_measurement():
    clock = Clock()
    callback = timed(clock, warmup_steps=0)
    timer = Timer(duration=timedelta(milliseconds=20))
    trainer, _ = train(clock, callback, timer, max_steps=-1)
    assert_steady(callback.summary)
    assert callback.summary["tokens"] == trainer.global_step * TOKENS
