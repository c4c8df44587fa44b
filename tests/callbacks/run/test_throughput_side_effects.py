"""What measuring costs and leaves behind: waits for the device, reads of tensors, hooks."""

from __future__ import annotations

import lightning as L
import pytest
import torch

from callbacks.run import throughput as speed
from tests.helpers.speed_clock import Clock, Loader, Model, timed, train


def test_a_trainer_is_left_as_it_was():
    class Fails(L.Callback):
        def on_train_batch_end(self, *args):
            raise RuntimeError("on purpose")

    clock = Clock()
    trainer, _ = train(clock, timed(clock))
    assert not {"_on_before_fetch", "_on_after_fetch"} & set(vars(trainer.fit_loop.epoch_loop))
    trainer = L.Trainer(
        callbacks=[timed(clock), Fails()],
        max_steps=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer.fit(Model(clock), Loader(clock), Loader(clock))
    assert not {"_on_before_fetch", "_on_after_fetch"} & set(vars(trainer.fit_loop.epoch_loop))


def test_the_loops_profiler_goes_on_listening():
    from lightning.pytorch.profilers import SimpleProfiler

    clock = Clock()
    profiler = SimpleProfiler()
    train(clock, timed(clock), profiler=profiler)
    assert len(profiler.recorded_durations["[_TrainingEpochLoop].train_dataloader_next"]) == 20


def test_the_device_is_waited_for_at_log_steps_and_pauses_only(monkeypatch):
    clock = Clock()
    waits = []
    monkeypatch.setattr(speed, "synchronise", lambda device: waits.append(model.steps))
    model = Model(clock)
    train(clock, timed(clock, warmup_steps=2), model=model, max_steps=23)
    # When the clock starts, at four logs and at the end.
    assert waits == [2, 5, 10, 15, 20, 23]

    waits.clear()
    model = Model(clock)
    options = {"val_check_interval": 8, "check_val_every_n_epoch": None, "max_steps": 13}
    train(clock, timed(clock, warmup_steps=0), model=model, val=Loader(clock, 1), **options)
    assert waits == [0, 5, 8, 8, 10, 13]  # before the validation and after it


def test_the_device_waited_for_is_the_modules(monkeypatch):
    waits = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waits.append)
    speed.synchronise(torch.device("cpu"))
    assert waits == []
    speed.synchronise(torch.device("cuda", 1))
    assert waits == [torch.device("cuda", 1)]


def test_no_tensor_is_read_while_training(monkeypatch):
    clock = Clock()
    reads = []
    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
        original = getattr(torch.Tensor, name)

        def read(self, *args, name=name, original=original, **kwargs):
            reads.append(name)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, read)
    train(clock)
    without = len(reads)
    reads.clear()
    train(clock, timed(clock, warmup_steps=0))
    assert len(reads) == without
    assert torch.ones(1).item() and len(reads) == without + 1  # the test can fail
