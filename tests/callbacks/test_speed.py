"""Speed: exact figures under a clock that only moves when the test says so."""

from __future__ import annotations

import os
import resource
import socket
import sys
from datetime import timedelta
from pathlib import Path

import lightning as L
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import Logger

from callbacks import RunSummary, Speed, speed

FETCH, STEP, TOKENS = 0.25, 1.0, 2 * 8
# A warm-up's steps, validation and checkpoints take so long that none of it can hide.
SLOW = 4096.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Unsized:
    """Batches (2, 8), each of which is waited for; Lightning fetches one ahead."""

    def __init__(self, clock: Clock, length: int = 1000, wait: float = FETCH) -> None:
        self.clock, self.length, self.wait = clock, length, wait

    def __iter__(self):
        for _ in range(self.length):
            self.clock.now += self.wait
            yield {"name": "text", "tokens": torch.zeros(2, 8, dtype=torch.long)}


class Loader(Unsized):
    """The same, of which Lightning knows the length."""

    def __len__(self) -> int:
        return self.length


class SlowToOpen(Loader):
    """A validation loader that starts its workers before any validation hook."""

    def __iter__(self):
        self.clock.now += SLOW
        return super().__iter__()


class Model(L.LightningModule):
    def __init__(self, clock: Clock, slow_steps: int = 0) -> None:
        super().__init__()
        self.clock, self.slow_steps = clock, slow_steps
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.validated = self.saved = self.steps = 0

    def training_step(self, batch, batch_idx):
        self.clock.now += SLOW if self.steps < self.slow_steps else STEP
        return self.weight.sum()

    def optimizer_step(self, *args, **kwargs):
        super().optimizer_step(*args, **kwargs)
        self.steps += 1

    def validation_step(self, batch, batch_idx):
        self.clock.now += SLOW
        self.validated += 1

    def on_save_checkpoint(self, checkpoint):
        self.clock.now += SLOW  # follows the callbacks' hooks, as the writing does
        self.saved += 1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Recorder(Logger):
    name = version = None

    def __init__(self) -> None:
        self.logged: dict[int, dict[str, float]] = {}

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step=None):
        found = {key[6:]: value for key, value in metrics.items() if key.startswith("speed/")}
        if found:
            assert step not in self.logged
            self.logged[step] = found


def timed(clock: Clock, **options) -> Speed:
    callback = Speed(**options)
    callback._clock = clock
    return callback


def train(clock, *callbacks, model=None, loader=None, val=None, ckpt_path=None, **options):
    """Train for 20 steps (or as `options` say); returns the trainer and what was logged."""
    recorder = Recorder()
    trainer = L.Trainer(
        callbacks=list(callbacks),
        logger=options.pop("logger", recorder),
        accelerator="cpu",
        enable_model_summary=False,
        enable_progress_bar=False,
        **{
            "max_steps": 20,
            "max_epochs": -1,
            "log_every_n_steps": 5,
            "enable_checkpointing": False,
            "limit_val_batches": 0 if val is None else None,
            "num_sanity_val_steps": 0,
            **options,
        },
    )
    loader, val = loader or Loader(clock), val or Loader(clock, 0)
    trainer.fit(model or Model(clock), loader, val, ckpt_path=ckpt_path)
    return trainer, recorder.logged


def assert_steady(figures: dict[str, float], accumulation: int = 1) -> None:
    """The figures of batches that take FETCH and STEP each, and of nothing else."""
    assert figures["tokens_per_second"] == TOKENS / (FETCH + STEP)
    assert figures["step_seconds"] == accumulation * (FETCH + STEP)
    assert figures["data_wait_share"] == FETCH / (FETCH + STEP)


# ---- the window ------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("loader", [Loader, Unsized])
def test_figures_are_exact(accumulation, loader):
    clock = Clock()
    callback = timed(clock, warmup_steps=0)
    _, logged = train(
        clock, callback, loader=loader(clock), accumulate_grad_batches=accumulation, max_steps=21
    )
    assert list(logged) == [5, 10, 15, 20]  # optimizer steps, not batches
    for figures in logged.values():
        assert_steady(figures, accumulation)
    assert_steady(callback.summary, accumulation)
    assert callback.summary["tokens"] == 21 * accumulation * TOKENS
    assert callback.summary["seconds"] == 21 * accumulation * (FETCH + STEP)
    assert callback.tokens_per_second == logged[20]["tokens_per_second"]


def test_a_window_describes_its_own_steps_alone():
    class Slowing(Model):
        def training_step(self, batch, batch_idx):
            self.clock.now += self.steps // 5  # one more second a step with every window
            return super().training_step(batch, batch_idx)

    clock = Clock()
    callback = timed(clock, warmup_steps=0)
    _, logged = train(clock, callback, model=Slowing(clock))
    seconds = [figures["step_seconds"] for figures in logged.values()]
    assert seconds == [1.25, 2.25, 3.25, 4.25]
    waited = [figures["data_wait_share"] for figures in logged.values()]
    assert waited == [0.25 / s for s in seconds]
    assert callback.summary["step_seconds"] == sum(seconds) / 4
    assert callback.summary["tokens_per_second"] == TOKENS / (sum(seconds) / 4)


def test_waiting_for_anything_but_the_loader_is_no_waiting_for_data():
    class Elsewhere(L.Callback):
        def on_train_batch_end(self, *args):
            clock.now += 0.5  # after Speed's own hook

        def on_train_batch_start(self, *args):
            clock.now += 0.25

    clock = Clock()
    _, logged = train(clock, timed(clock, warmup_steps=0), Elsewhere())
    assert logged[10]["step_seconds"] == 2.0
    assert logged[10]["data_wait_share"] == FETCH / 2.0


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
    assert callback.headlines == ["speed/peak_memory_mib"]


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


def test_without_a_log_interval_or_a_logger_the_summary_remains():
    for options in ({"log_every_n_steps": 0}, {"logger": False}):
        clock = Clock()
        callback = timed(clock, warmup_steps=0)
        _, logged = train(clock, callback, **options)
        assert logged == {}
        assert_steady(callback.summary)


# ---- tokens ----------------------------------------------------------------------------------


def test_the_module_says_how_many_tokens_a_batch_has():
    class Language(Model):
        def tokens_in(self, batch) -> int:
            return batch["tokens"][:, :-1].numel()

    clock = Clock()
    _, logged = train(clock, timed(clock, warmup_steps=0), model=Language(clock))
    assert logged[5]["tokens_per_second"] == 2 * 7 / (FETCH + STEP)


def test_otherwise_the_first_tensor_is_counted():
    small, large = torch.zeros(2, 3), torch.zeros(100)
    for batch in (small, [small, large], ("a", {"x": 1, "y": [small]}, large), {"a": small}):
        assert speed.elements_of_first_tensor(batch) == 6
    with pytest.raises(ValueError, match=r"no tensor in a batch of type dict; .*tokens_in"):
        speed.elements_of_first_tensor({"text": "abc"})


# ---- utilisation -----------------------------------------------------------------------------


class Counted(Model):
    def flops_per_token(self) -> float:
        return 1e9


def test_utilisation_is_that_of_the_given_peak():
    clock = Clock()
    callback = timed(clock, warmup_steps=0, peak_flops=5e10)
    _, logged = train(clock, callback, model=Counted(clock))
    expected = TOKENS / (FETCH + STEP) * 1e9 / 5e10
    assert logged[10]["model_flops_utilisation"] == pytest.approx(expected, rel=1e-12)
    assert callback.summary["model_flops_utilisation"] == pytest.approx(expected, rel=1e-12)


def test_there_is_no_utilisation_of_an_unknown_peak_or_without_a_count_of_flops():
    for model, options in ((Counted, {}), (Model, {"peak_flops": 1e12})):
        clock = Clock()
        callback = timed(clock, warmup_steps=0, **options)
        _, logged = train(clock, callback, model=model(clock), precision="bf16-mixed")
        names = {"tokens_per_second", "step_seconds", "data_wait_share", "peak_memory_mib"}
        assert set(logged[5]) == names
        assert set(callback.summary) == {*names, "tokens", "seconds"}


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835.5),
        ("NVIDIA H200", 989.4),
        ("NVIDIA GH200 480GB", 989.4),
        ("NVIDIA B200", 2250),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA A10", 125),
        ("NVIDIA A10G", None),  # another chip than the A10
        ("NVIDIA L4", 121),
        ("NVIDIA L40", 181),
        ("NVIDIA L40S", 362),
        ("Tesla V100-SXM2-16GB", 125),
        ("Tesla V100-PCIE-16GB", 112),
        ("Tesla T4", 65),
        ("NVIDIA RTX A6000", 154.8),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 3090", 71),
        ("NVIDIA GeForce RTX 3090 Ti", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA GeForce GTX 1080", None),
        ("AMD Instinct MI300X", None),
    ],
)
def test_peaks_by_the_names_that_cuda_gives(name, teraflops):
    peak = None if teraflops is None else pytest.approx(teraflops * 1e12)
    for precision in ("16-mixed", "16-true", "bf16-mixed", "bf16-true"):
        assert speed.peak_flops_of(name, precision) == peak
    for precision in ("32-true", "64-true", "transformer-engine"):
        assert speed.peak_flops_of(name, precision) is None


def test_the_name_is_asked_of_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Tesla T{device.index}")
    assert speed.peak_flops_of(torch.device("cuda", 4), "16-mixed") == 65e12
    assert speed.peak_flops_of(torch.device("cuda", 5), "16-mixed") is None
    assert speed.peak_flops_of(torch.device("cpu"), "16-mixed") is None


@pytest.mark.parametrize("options", [{"warmup_steps": -1}, {"peak_flops": 0.0}])
def test_senseless_options_are_refused(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"Speed: {name} is .*must"):
        Speed(**options)


# ---- memory ----------------------------------------------------------------------------------


def test_peak_memory_is_the_processs_on_a_cpu(monkeypatch):
    peak = speed.peak_memory_mib(torch.device("cpu"))
    assert 50 < peak < 100_000  # Python with PyTorch
    ballast = torch.ones(int((peak + 64) * 2**18))  # 4 bytes each
    grown = speed.peak_memory_mib(torch.device("cpu"))
    assert grown > peak + 64
    del ballast
    assert speed.peak_memory_mib(torch.device("cpu")) >= grown  # a peak stays

    usage = type("Usage", (), {"ru_maxrss": 3 * 2**20})
    monkeypatch.setattr(resource, "getrusage", lambda who: usage)
    for platform, expected in (("linux", 3 * 2**10), ("darwin", 3), ("win32", None)):
        monkeypatch.setattr(sys, "platform", platform)
        assert speed.peak_memory_mib(torch.device("cpu")) == expected


def test_peak_memory_is_pytorchs_on_a_gpu_since_the_fit_began(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", calls.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5 * 2**20)
    device = torch.device("cuda", 1)
    Speed().on_fit_start(None, type("Module", (), {"device": device}))
    assert calls == [device] and speed.peak_memory_mib(device) == 5.0
    Speed().on_fit_start(None, type("Module", (), {"device": torch.device("cpu")}))
    assert calls == [device]


# ---- waiting for the device ------------------------------------------------------------------


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


# ---- results ---------------------------------------------------------------------------------


def test_figures_of_the_whole_fit_are_in_the_runs_results(tmp_path, capsys):
    import json

    class Scored(Model):
        def scores(self):
            return {"val/loss": torch.tensor([2.5])}

    clock = Clock()
    callback = timed(clock, warmup_steps=2)
    logger = CSVLogger(tmp_path, name="run", version=0)
    train(clock, RunSummary(), callback, model=Scored(clock, slow_steps=2), logger=logger)
    folder = tmp_path / "run" / "version_0"
    metrics = json.loads((folder / "results.json").read_text())["metrics"]
    assert metrics["val/loss"] == [2.5]
    assert metrics["speed/tokens_per_second"] == [TOKENS / (FETCH + STEP)]
    assert metrics["speed/step_seconds"] == [FETCH + STEP]
    assert metrics["speed/data_wait_share"] == [FETCH / (FETCH + STEP)]
    assert metrics["speed/peak_memory_mib"] == [callback.summary["peak_memory_mib"]]
    said = capsys.readouterr().out
    assert "speed/tokens_per_second" in said and "speed/peak_memory_mib" in said
    assert "speed/step_seconds" not in said and "0 seeds" not in said
    assert "speed/tokens_per_second" in (folder / "metrics.csv").read_text()


def test_a_run_without_headlines_has_an_empty_table(tmp_path, capsys):
    class Scored(Model):
        def scores(self):
            return {"val/loss": torch.tensor([2.5])}

    clock = Clock()
    logger = CSVLogger(tmp_path, name="run", version=0)
    train(clock, RunSummary(), model=Scored(clock), logger=logger)
    assert (tmp_path / "run" / "version_0" / "results.json").exists()


def test_a_real_clock_is_near_the_walls():
    import time

    class Sleeps(Model):
        def training_step(self, batch, batch_idx):
            time.sleep(0.01)
            return super().training_step(batch, batch_idx)

    clock, callback = Clock(), Speed(warmup_steps=2)
    started = time.perf_counter()
    train(clock, callback, model=Sleeps(clock), val=Loader(clock, 1), val_check_interval=10)
    wall = time.perf_counter() - started
    assert 18 * 0.01 <= callback.summary["seconds"] < wall
    assert 0.0 < callback.summary["data_wait_share"] < 0.5


# ---- several ranks ---------------------------------------------------------------------------


class Guarded(Speed):
    """Fails where one of its hooks talks to other ranks."""

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if not name.startswith("on_"):
            return found

        def hook(*args, **kwargs):
            names = ("all_reduce", "all_gather", "broadcast", "barrier", "reduce", "gather")
            before = {name: getattr(dist, name) for name in names}

            def refuse(*args, **kwargs):
                raise AssertionError("a collective")

            for collective in names:
                setattr(dist, collective, refuse)
            try:
                return found(*args, **kwargs)
            finally:
                for collective, original in before.items():
                    setattr(dist, collective, original)

        return hook


def fit_on_rank(rank: int, port: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    os.environ |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    clock = Clock()
    # The second rank's clock runs at another pace: each rank reads its own, and none asks.
    loader = Loader(clock, wait=FETCH * (1 + rank))
    callback = Guarded(warmup_steps=2, peak_flops=5e10)
    callback._clock = clock
    options = {"strategy": "ddp", "devices": 2, "use_distributed_sampler": False}
    trainer, logged = train(
        clock,
        callback,
        model=Counted(clock, slow_steps=2),
        loader=loader,
        val=Loader(clock, 2),
        val_check_interval=14,
        accumulate_grad_batches=4,
        max_steps=10,
        **options,
    )
    assert trainer.world_size == 2
    torch.save({"logged": logged, "summary": callback.summary}, f"{folder}/rank_{rank}.pt")


@pytest.mark.ddp
def test_two_ranks_train_twice_the_tokens(tmp_path: Path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    mp.spawn(fit_on_rank, args=(port, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"rank_{rank}.pt") for rank in range(2))
    assert list(first["logged"]) == [5, 10] and second["logged"] == {}
    for figures in (*first["logged"].values(), first["summary"]):
        assert figures["tokens_per_second"] == 2 * TOKENS / (FETCH + STEP)
        assert figures["step_seconds"] == 4 * (FETCH + STEP)
        assert figures["data_wait_share"] == FETCH / (FETCH + STEP)
        share = TOKENS / (FETCH + STEP) * 1e9 / 5e10  # of one rank's tokens in one device's peak
        assert figures["model_flops_utilisation"] == pytest.approx(share, rel=1e-12)
    assert first["summary"]["tokens"] == second["summary"]["tokens"] == 2 * 10 * 4 * TOKENS
    assert second["summary"]["data_wait_share"] == 2 * FETCH / (2 * FETCH + STEP)
