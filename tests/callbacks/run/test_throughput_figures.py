"""Speed's figures are exact: of a window's own steps, of the tokens, and in the run's results."""

from __future__ import annotations

import json

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from callbacks import RunSummary, Speed
from callbacks.run import throughput as speed
from tests.helpers.speed_clock import (
    FETCH,
    STEP,
    TOKENS,
    Clock,
    Loader,
    Model,
    Unsized,
    assert_steady,
    timed,
    train,
)

# ---- a window ------------------------------------------------------------------------------------


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
    waited = [figures["dataloader_wait_fraction"] for figures in logged.values()]
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
    assert logged[10]["dataloader_wait_fraction"] == FETCH / 2.0


# ---- tokens --------------------------------------------------------------------------------------


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


# ---- results -------------------------------------------------------------------------------------


def test_without_a_log_interval_or_a_logger_the_summary_remains():
    for options in ({"log_every_n_steps": 0}, {"logger": False}):
        clock = Clock()
        callback = timed(clock, warmup_steps=0)
        _, logged = train(clock, callback, **options)
        assert logged == {}
        assert_steady(callback.summary)


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
    assert metrics["speed/dataloader_wait_fraction"] == [FETCH / (FETCH + STEP)]
    assert metrics["speed/peak_memory_mib"] == [callback.summary["peak_memory_mib"]]
    said = capsys.readouterr().out
    assert "speed/tokens_per_second" in said and "speed/peak_memory_mib" in said
    assert "speed/step_seconds" not in said and "0 seeds" not in said
    assert "speed/tokens_per_second" in (folder / "metrics.csv").read_text()


def test_the_results_of_a_run_without_headlines_are_its_scores_alone(tmp_path):
    class Scored(Model):
        def scores(self):
            return {"val/loss": torch.tensor([2.5])}

    clock = Clock()
    logger = CSVLogger(tmp_path, name="run", version=0)
    train(clock, RunSummary(), model=Scored(clock), logger=logger)
    results = json.loads((tmp_path / "run" / "version_0" / "results.json").read_text())
    assert results["metrics"] == {"val/loss": [2.5]}


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
    assert 0.0 < callback.summary["dataloader_wait_fraction"] < 0.5
