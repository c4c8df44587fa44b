"""Speed measures training alone, exactly, and leaves the trainer as it was."""

from __future__ import annotations

import json

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.profilers import SimpleProfiler

from callbacks import RunSummary, Speed
from callbacks.run import throughput
from callbacks.run.lightning_internals import FETCH_ACTION
from callbacks.run.peak_flops import peak_flops_of
from tests.helpers.speed_clock import (
    FETCH,
    SLOW,
    STEP,
    TOKENS,
    Clock,
    Counted,
    Loader,
    Model,
    SlowToOpen,
    Unsized,
    assert_steady,
    timed,
    train,
)
from tests.helpers.trainers import quiet_trainer

NAMES = {
    f"speed/{name}"
    for name in ("tokens_per_second", "step_seconds", "dataloader_wait_fraction", "peak_memory_mib")
}


class SaveAtLogSteps(L.Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step % 5 == 0:
            trainer.save_checkpoint(f"{trainer.default_root_dir}/now.ckpt")


@pytest.mark.parametrize(("accumulation", "loader"), [(1, Loader), (4, Unsized)])
def test_metrics_are_logged_per_optimizer_step(accumulation, loader):
    clock = Clock()
    callback = timed(clock, warmup_steps=0)
    _, logged = train(
        clock, callback, loader=loader(clock), accumulate_grad_batches=accumulation, max_steps=21
    )
    assert list(logged) == [5, 10, 15, 20]
    for metrics in (*logged.values(), callback.results):
        assert_steady(metrics, accumulation)
    assert callback.tokens_per_second == logged[20]["speed/tokens_per_second"]


def test_a_log_describes_the_steps_since_the_last_one():
    class Slowing(Model):
        def training_step(self, batch, batch_idx):
            self.clock.now += self.steps // 5  # one more second per step after each log
            return super().training_step(batch, batch_idx)

    clock = Clock()
    callback = timed(clock, warmup_steps=0)
    _, logged = train(clock, callback, model=Slowing(clock))
    seconds = [metrics["speed/step_seconds"] for metrics in logged.values()]
    assert seconds == [1.25, 2.25, 3.25, 4.25]
    waits = [metrics["speed/dataloader_wait_fraction"] for metrics in logged.values()]
    assert waits == [0.25 / s for s in seconds]
    assert float(callback.results["speed/step_seconds"]) == sum(seconds) / 4


def test_only_the_loader_counts_as_waiting_for_data():
    class Hooks(L.Callback):
        def on_train_batch_end(self, *args):
            clock.now += 0.5  # after Speed's own hook

        def on_train_batch_start(self, *args):
            clock.now += 0.25

    clock = Clock()
    _, logged = train(clock, timed(clock, warmup_steps=0), Hooks())
    assert logged[10]["speed/step_seconds"] == 2.0
    assert logged[10]["speed/dataloader_wait_fraction"] == FETCH / 2.0


def test_tokens_are_those_the_module_counts_or_the_first_tensors():
    class Language(Model):
        def tokens_in(self, batch) -> int:
            return batch["tokens"][:, :-1].numel()

    clock = Clock()
    _, logged = train(clock, timed(clock, warmup_steps=0), model=Language(clock))
    assert logged[5]["speed/tokens_per_second"] == 2 * 7 / (FETCH + STEP)
    small, large = torch.zeros(2, 3), torch.zeros(100)
    for batch in (small, [small, large], ("a", {"x": 1, "y": [small]}, large), {"a": small}):
        assert throughput.elements_of_first_tensor(batch) == 6
    with pytest.raises(ValueError, match="tokens_in"):
        throughput.elements_of_first_tensor({"text": "abc"})


@pytest.mark.parametrize("options", [{"log_every_n_steps": 0}, {"logger": False}])
def test_results_need_no_log_interval_and_no_logger(options):
    clock = Clock()
    callback = timed(clock, warmup_steps=0)
    _, logged = train(clock, callback, **options)
    assert logged == {}
    assert_steady(callback.results)


def test_results_json_has_the_metrics_of_the_whole_fit(tmp_path, capsys):
    class Scored(Model):
        def scores(self):
            return {"val/loss": torch.tensor([2.5])}

    clock = Clock()
    callback = timed(clock, warmup_steps=2)
    logger = CSVLogger(tmp_path, name="run", version=0)
    train(clock, RunSummary(), callback, model=Scored(clock, slow_steps=2), logger=logger)
    folder = tmp_path / "run" / "version_0"
    metrics = json.loads((folder / "results.json").read_text())["metrics"]
    assert metrics.keys() == {"val/loss", *NAMES}
    assert_steady({name: values[0] for name, values in metrics.items()})
    shown = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line}
    assert shown & NAMES == {"speed/tokens_per_second", "speed/peak_memory_mib"}
    assert "speed/tokens_per_second" in (folder / "metrics.csv").read_text()


@pytest.mark.parametrize(("warmup", "first", "accumulation"), [(2, 5, 4), (5, 10, 1)])
def test_warm_up_is_left_out(warmup, first, accumulation):
    clock = Clock()
    callback, model = timed(clock, warmup_steps=warmup), Model(clock, slow_steps=warmup)
    _, logged = train(clock, callback, model=model, accumulate_grad_batches=accumulation)
    assert min(logged) == first
    for metrics in (*logged.values(), callback.results):
        assert_steady(metrics, accumulation)


def test_a_run_that_ends_while_warming_up_has_no_speed():
    clock = Clock()
    callback = timed(clock, warmup_steps=20)
    _, logged = train(clock, callback)
    assert logged == {} and callback.tokens_per_second is None
    assert callback.summary_metrics == list(callback.results) == ["speed/peak_memory_mib"]


def test_every_fit_warms_up_and_a_resumed_one_logs_at_the_same_steps(tmp_path):
    clock = Clock()
    callback = timed(clock, warmup_steps=4)
    trainer, logged = train(clock, callback, max_steps=7)
    assert list(logged) == [5]
    trainer.save_checkpoint(tmp_path / "seven.ckpt")
    model = Model(clock, slow_steps=4)
    _, logged = train(clock, callback, model=model, ckpt_path=tmp_path / "seven.ckpt")
    assert model.steps == 13 and list(logged) == [15, 20]  # steps 8 to 11 are warm-up
    for metrics in (*logged.values(), callback.results):
        assert_steady(metrics)


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize(("interval", "workers"), [(3, Loader), (5, SlowToOpen)])  # in batches
def test_validation_is_left_out(interval, accumulation, workers):
    clock = Clock()
    callback, model = timed(clock, warmup_steps=2), Model(clock)
    _, logged = train(
        clock, callback, model=model, val=workers(clock, 2), val_check_interval=interval,
        check_val_every_n_epoch=None, accumulate_grad_batches=accumulation,
    )  # fmt: skip
    assert model.validated >= 2 * 2 and list(logged) == [5, 10, 15, 20]
    for metrics in (*logged.values(), callback.results):
        assert_steady(metrics, accumulation)


@pytest.mark.parametrize(("every", "saved"), [(3, 6), (5, 4), (None, 4)])
def test_writing_checkpoints_is_left_out(every, saved, tmp_path):
    clock = Clock()
    callback, model = timed(clock, warmup_steps=0), Model(clock)
    checkpoints = SaveAtLogSteps()  # before Speed's own hook; Lightning's come last
    if every is not None:
        checkpoints = ModelCheckpoint(tmp_path, every_n_train_steps=every, save_top_k=-1)
    options = {"enable_checkpointing": every is not None, "default_root_dir": tmp_path}
    _, logged = train(clock, checkpoints, callback, model=model, **options)
    assert model.saved == saved and list(logged) == [5, 10, 15, 20]
    for metrics in logged.values():
        assert_steady(metrics)


def test_time_between_epochs_is_left_out():
    class Slow(L.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            clock.now += SLOW

        on_train_epoch_start = on_train_epoch_end

    clock = Clock()
    callback = timed(clock, warmup_steps=0)
    _, logged = train(clock, Slow(), callback, loader=Loader(clock, 7))
    for metrics in (*logged.values(), callback.results):
        assert_steady(metrics)


@pytest.mark.parametrize("validates", [False, True])
@pytest.mark.parametrize("place", [0, 1])  # of the callback that stops training: before or after
def test_the_end_of_training_is_left_out(validates, place):
    class Stops(L.Callback):
        def on_train_batch_end(self, trainer, *args):
            trainer.should_stop = trainer.global_step >= 12

        def on_train_end(self, trainer, pl_module):
            clock.now += SLOW

    clock = Clock()
    callbacks, model = [timed(clock, warmup_steps=0)], Model(clock)
    callbacks.insert(place, Stops())
    train(clock, *callbacks, model=model, val=Loader(clock, 2) if validates else None)
    assert bool(model.validated) == validates and model.steps == 12
    assert_steady(callbacks[1 - place].results)


def test_the_users_profiler_records_every_fetch_and_is_restored():
    class Fails(L.Callback):
        def on_train_batch_end(self, trainer, *args):
            assert trainer.profiler is not profiler
            raise RuntimeError("on purpose")

    clock, profiler = Clock(), SimpleProfiler()
    trainer, _ = train(clock, timed(clock), profiler=profiler)
    assert trainer.profiler is profiler
    assert len(profiler.recorded_durations[FETCH_ACTION]) == 20
    options = {"profiler": profiler, "limit_val_batches": 0}
    trainer = quiet_trainer(timed(clock), Fails(), **options)
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer.fit(Model(clock), Loader(clock), Loader(clock))
    assert trainer.profiler is profiler


def test_only_log_steps_and_pauses_wait_for_the_device(monkeypatch):
    clock, waits = Clock(), []
    monkeypatch.setattr(throughput, "synchronize", lambda device: waits.append(model.steps))
    model = Model(clock)
    train(clock, timed(clock, warmup_steps=2), model=model, max_steps=23)
    assert waits == [2, 5, 10, 15, 20, 23]  # the start of the clock, four logs and the end

    waits.clear()
    model = Model(clock)
    options = {"val_check_interval": 8, "check_val_every_n_epoch": None, "max_steps": 13}
    train(clock, timed(clock, warmup_steps=0), model=model, val=Loader(clock, 1), **options)
    assert waits == [0, 5, 8, 8, 10, 13]  # before the validation and after it


def test_peak_memory_is_in_mebibytes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5 * 2**20)
    assert throughput.peak_memory_mib(torch.device("cuda", 1)) == 5.0
    assert 50 < throughput.peak_memory_mib(torch.device("cpu")) < 100_000  # Python with PyTorch


def test_utilization_is_that_of_the_given_peak():
    clock = Clock()
    callback = timed(clock, warmup_steps=0, peak_flops=5e10)
    _, logged = train(clock, callback, model=Counted(clock))
    expected = TOKENS / (FETCH + STEP) * 1e9 / 5e10
    for metrics in (logged[10], callback.results):
        assert float(metrics["speed/mfu"]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("model", "options"), [(Counted, {}), (Model, {"peak_flops": 1e12})])
def test_utilization_needs_a_known_peak_and_a_count_of_flops(model, options):
    clock = Clock()
    callback = timed(clock, warmup_steps=0, **options)
    _, logged = train(clock, callback, model=model(clock), precision="bf16-mixed")
    assert set(logged[5]) == set(callback.results) == NAMES


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA A10", 125),
        ("NVIDIA A10G", None),  # a different chip from the A10
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("AMD Instinct MI300X", None),
    ],
)
def test_half_precision_peaks_by_device_name(monkeypatch, name, teraflops):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    peak = None if teraflops is None else pytest.approx(teraflops * 1e12)
    for device in (name, torch.device("cuda", 4)):
        assert peak_flops_of(device, "16-mixed") == peak_flops_of(device, "bf16-true") == peak
        assert peak_flops_of(device, "32-true") is None
    assert peak_flops_of(torch.device("cpu"), "16-mixed") is None


@pytest.mark.parametrize("options", [{"warmup_steps": -1}, {"peak_flops": 0.0}])
def test_invalid_options_are_refused(options):
    (name,) = options
    with pytest.raises(ValueError, match=name):
        Speed(**options)
