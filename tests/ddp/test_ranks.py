"""The same run on one, two and three ranks (gloo, CPU): losses, metrics, checkpoints, speed."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from callbacks import PredictionTable, RunCheckpoint, RunSummary
from datamodules import AlgorithmicData, ModularAddition, OpenWebText
from lightning_modules import GPT2, MLP, Classifier, CrossEntropyHead, HarmonicHead, LanguageModel
from tests.helpers.paths import ROOT
from tests.helpers.planted_words import planted_data, small_classifier, write_planted
from tests.helpers.ranks import set_rank
from tests.helpers.speed_clock import FETCH, STEP, TOKENS, Clock, Counted, Loader, timed, train

pytestmark = [pytest.mark.ddp, pytest.mark.xdist_group("ranks")]
BLOCK, TIME_LIMIT = 16, 400
SEEDS = 5  # 2 and 3, or 1, 2 and 2 per rank


class History(L.Callback):
    """Every logged metric by optimizer step."""

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []

    def on_train_epoch_end(self, trainer, pl_module):
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.rows.append([trainer.global_step, values])

    on_train_end = on_train_epoch_end

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step and batch_idx % trainer.accumulate_grad_batches == 0:
            self.on_train_epoch_end(trainer, pl_module)


class PoisonedHead(CrossEntropyHead):
    """A head whose loss is nan while a rank is poisoned."""

    active = False

    def loss(self, *args, **kwargs):
        value = super().loss(*args, **kwargs)
        return value * torch.nan if self.active else value


class PoisonOneRank(L.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        PoisonedHead.active = trainer.global_rank == 1 and trainer.global_step == 5


def make_trainer(world: int, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu", devices=world, strategy="ddp" if world > 1 else "auto",
        callbacks=list(callbacks), enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False,
        **{"logger": False, "num_sanity_val_steps": 0, "enable_checkpointing": False, **options},
    )  # fmt: skip


def language_model(folder: Path, world: int, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    """Thirty steps of a tiny GPT, validated on seven windows (uneven on two and three ranks)."""
    torch.manual_seed(0)
    model = LanguageModel(
        partial(GPT2, num_layers=1, num_heads=1, width=16), options.pop("head", CrossEntropyHead),
        257, BLOCK, learning_rate=1e-2, warmup_steps=5,
    )  # fmt: skip
    data = OpenWebText(
        str(folder / "tokens"), tokenizer="bytes", block_size=BLOCK, global_batch_size=6,
        micro_batch_size=1, seed=0,
    )  # fmt: skip
    settings = {"max_steps": 30, "val_check_interval": 10, "log_every_n_steps": 1, **options}
    trainer = make_trainer(world, *callbacks, check_val_every_n_epoch=None, **settings)
    trainer.fit(model, data)
    return trainer


def language_model_rows(folder: Path, world: int) -> list[list[Any]]:
    history = History()
    trainer = language_model(folder, world, history)
    trainer.save_checkpoint(folder / f"language_model_{world}.ckpt", weights_only=False)
    return history.rows


def poisoned(folder: Path, world: int) -> str:
    """The error of a run in which the loss of one rank becomes nan in the sixth step."""
    checkpoint = RunCheckpoint(every_n_steps=2)
    checkpoint.dirpath = str(folder / f"poisoned_{world}")
    options = {"head": PoisonedHead, "log_every_n_steps": 6, "enable_checkpointing": True}
    with pytest.raises(ValueError) as error:
        language_model(folder, world, PoisonOneRank(), checkpoint, **options)
    return str(error.value)


def classifier(
    world: int,
    num_seeds: int,
    epochs: int = 4,
    ckpt_path: Path | None = None,
    save: Path | None = None,
) -> dict[str, Any]:
    """MLPs on modular addition: the logged metrics, and every seed's final ones."""
    history = History()
    head = partial(HarmonicHead, exponent=2, eps=1e-4)
    model = Classifier(MLP, head, num_seeds=num_seeds, compile="never")
    data = AlgorithmicData(ModularAddition(31), num_samples=300)
    trainer = make_trainer(world, history, max_epochs=epochs, log_every_n_steps=8)
    trainer.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    if save:
        trainer.save_checkpoint(save, weights_only=False)
    return {
        "rows": history.rows,
        "scores": {name: value.tolist() for name, value in model.scores().items()},
        "embedding": model.embedding_matrix().tolist(),
        "trained": model.shard().ensemble.seeds,
    }


def unvalidated(world: int) -> dict[str, Any]:
    """The metrics of a run that ends before its first validation but for the sanity check."""
    model = Classifier(MLP, HarmonicHead, num_seeds=SEEDS, compile="never")
    data = AlgorithmicData(ModularAddition(31), num_samples=60)
    options = {"max_epochs": 2, "check_val_every_n_epoch": 5, "num_sanity_val_steps": 2}
    make_trainer(world, RunSummary(table=False), log_every_n_steps=1, **options).fit(model, data)
    return {name: value.tolist() for name, value in model.scores().items()}


def predict_texts(folder: Path, world: int) -> None:
    """Predictions of 73 texts, the last batch being one text, and of a single one."""
    for name, batch_size, limit in (("texts", 12, 1.0), ("single", 1, 1)):
        data = planted_data(folder / "planted", batch_size=batch_size)
        logger = CSVLogger(folder / f"{name}_{world}", name="", version="run")
        options = {"logger": logger, "limit_predict_batches": limit}
        trainer = make_trainer(world, PredictionTable(), **options)
        trainer.predict(small_classifier(data), datamodule=data, return_predictions=False)


def predicted(folder: Path, name: str, world: int) -> list[list[str]]:
    with (folder / f"{name}_{world}" / "run" / "predictions.csv").open(newline="") as file:
        return list(csv.reader(file))


def speed(rank: int, world: int) -> dict[str, Any]:
    """Logged metrics and results of Speed, where the second rank's loader is slower."""
    clock = Clock()
    callback = timed(clock, warmup_steps=2, peak_flops=5e10)
    _, logged = train(
        clock, callback, model=Counted(clock, slow_steps=2), val=Loader(clock, 2),
        loader=Loader(clock, wait=FETCH * (1 + rank)), val_check_interval=14, max_steps=10,
        accumulate_grad_batches=4, strategy="ddp", devices=world, use_distributed_sampler=False,
    )  # fmt: skip
    results = {name: float(value) for name, value in callback.results.items()}
    return {"logged": {str(step): metrics for step, metrics in logged.items()}, "results": results}


def on_rank(rank: int, world: int, folder: str, port: int) -> None:
    set_rank(rank, world, port)
    here = Path(folder)
    measured: dict[str, Any] = {
        "language_model": language_model_rows(here, world),
        "seeds": classifier(world, SEEDS, save=here / f"seeds_{world}.ckpt"),
        "one_seed": classifier(world, 1),
        "unvalidated": unvalidated(world),
        "resumed": classifier(world, SEEDS, epochs=6, ckpt_path=here / "seeds_1.ckpt"),
        "speed": speed(rank, world),
        "texts": predict_texts(here, world),
        "poisoned": poisoned(here, world),  # the last, because the ranks end at different places
    }
    (here / f"world_{world}_rank_{rank}.json").write_text(json.dumps(measured))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ranks")
    (path / "tokens").mkdir()
    rng = np.random.default_rng(0)
    for split, windows in (("train", 200), ("val", 7)):
        tokens = rng.integers(0, 64, windows * BLOCK + 1).astype("<u2")
        tokens.tofile(path / "tokens" / f"{split}.bin")
    write_planted(path / "planted")
    return path


@pytest.fixture(scope="module")
def alone(folder) -> dict[str, Any]:
    """What one process measures."""
    return {
        "language_model": language_model_rows(folder, 1),
        "seeds": classifier(1, SEEDS, save=folder / "seeds_1.ckpt"),
        "one_seed": classifier(1, 1),
        "unvalidated": unvalidated(1),
        "longer": classifier(1, SEEDS, epochs=6),
        "texts": predict_texts(folder, 1),
    }


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def ranks(request, folder, alone, spawn_ranks) -> list[dict[str, Any]]:
    """What each of two, of three ranks measures."""
    world = request.param
    spawn_ranks(on_rank, world, world, str(folder))
    return [json.loads((folder / f"world_{world}_rank_{r}.json").read_text()) for r in range(world)]


def assert_same_rows(rows: list[Any], expected: list[Any], rel: float, validated: float) -> None:
    assert [step for step, _ in rows] == [step for step, _ in expected]
    for (step, here), (_, there) in zip(rows, expected, strict=True):
        assert here.keys() == there.keys()
        for name, value in there.items():
            limit = rel if name.startswith("train/") else validated
            assert here[name] == pytest.approx(value, rel=limit), (step, name)


def assert_close(one: Any, other: Any, **limits: float) -> None:
    torch.testing.assert_close(torch.tensor(one), torch.tensor(other), **limits)


def test_a_language_model_has_the_metrics_and_weights_of_one_rank(ranks, alone, folder):
    expected = alone["language_model"]
    assert len(expected) >= 30
    assert {"val/loss", "val/perplexity", "train/gradient_norm"} <= expected[-1][1].keys()
    assert expected[-1][1]["train/loss"] < 0.95 * expected[0][1]["train/loss"]  # it learns
    for rank in ranks:
        assert_same_rows(rank["language_model"], expected, rel=1e-4, validated=1e-5)
    one, many = (
        torch.load(folder / f"language_model_{world}.ckpt", weights_only=True)["state_dict"]
        for world in (1, len(ranks))
    )
    assert one.keys() == many.keys()
    for name, value in one.items():
        if not name.endswith("qkv.bias"):  # a key's has no effect
            torch.testing.assert_close(many[name], value, rtol=1e-3, atol=1e-4)


def test_seeds_are_divided_and_every_rank_has_the_scores_of_all(ranks, alone):
    trained = [rank["seeds"]["trained"] for rank in ranks]
    assert sorted(seed for seeds in trained for seed in seeds) == list(range(SEEDS))
    assert max(map(len, trained)) - min(map(len, trained)) <= 1
    for rank in ranks:
        assert_same_rows(rank["seeds"]["rows"], alone["seeds"]["rows"], 1e-5, 1e-5)
        for name, values in alone["seeds"]["scores"].items():
            expected = pytest.approx(values, rel=1e-5, nan_ok=True)
            assert rank["seeds"]["scores"][name] == expected, name
        assert_close(rank["seeds"]["embedding"], alone["seeds"]["embedding"])


def test_a_run_without_a_validation_has_no_scores_of_the_untrained_network(ranks, alone):
    for scores in (alone["unvalidated"], *(rank["unvalidated"] for rank in ranks)):
        assert all(math.isnan(value) for values in scores.values() for value in values)


def test_one_seed_is_trained_by_all_ranks_together(ranks, alone):
    expected = alone["one_seed"]
    for rank in ranks:
        assert rank["one_seed"]["trained"] == [0]
        assert_same_rows(rank["one_seed"]["rows"], expected["rows"], 1e-5, 1e-5)
        limits = {"rtol": 1e-4, "atol": 1e-6}
        assert_close(rank["one_seed"]["embedding"], expected["embedding"], **limits)


def test_a_checkpoint_of_divided_seeds_is_that_of_one_rank(ranks, alone, folder):
    one = torch.load(folder / "seeds_1.ckpt", weights_only=True)
    many = torch.load(folder / f"seeds_{len(ranks)}.ckpt", weights_only=True)
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(many["state_dict"][name], value)
    states = (one["optimizer_states"][0]["state"], many["optimizer_states"][0]["state"])
    assert states[0].keys() == states[1].keys()
    for index, entry in states[0].items():
        for name, value in entry.items():
            torch.testing.assert_close(states[1][index][name], value)


def test_a_run_of_one_rank_is_resumed_on_several(ranks, alone):
    for rank in ranks:
        assert_close(rank["resumed"]["embedding"], alone["longer"]["embedding"])


def test_predictions_of_texts_are_those_of_one_rank(ranks, folder):
    (header, *rows), (other, *alone) = (
        predicted(folder, "texts", world) for world in (len(ranks), 1)
    )
    assert header == other and [row[:3] for row in rows] == [row[:3] for row in alone]
    for row, expected in zip(rows, alone, strict=True):
        assert list(map(float, row[3:])) == pytest.approx(list(map(float, expected[3:])), abs=1e-5)
    assert len(predicted(folder, "single", len(ranks))) == 2


def test_speed_counts_the_tokens_of_all_ranks_without_asking_them(ranks):
    first, second, *_ = (rank["speed"] for rank in ranks)
    assert list(first["logged"]) == ["5", "10"] and second["logged"] == {}
    for metrics in (*first["logged"].values(), first["results"]):
        assert metrics["speed/tokens_per_second"] == len(ranks) * TOKENS / (FETCH + STEP)
        assert metrics["speed/step_seconds"] == 4 * (FETCH + STEP)
        assert metrics["speed/dataloader_wait_fraction"] == FETCH / (FETCH + STEP)
        mfu = TOKENS / (FETCH + STEP) * 1e9 / 5e10  # one rank's tokens at one device's peak
        assert metrics["speed/mfu"] == pytest.approx(mfu, rel=1e-12)
    wait = second["results"]["speed/dataloader_wait_fraction"]
    assert wait == 2 * FETCH / (2 * FETCH + STEP)


def test_a_nan_loss_on_one_rank_stops_all_and_is_in_no_checkpoint(ranks, folder):
    assert all("step 6" in rank["poisoned"] for rank in ranks)
    path = folder / f"poisoned_{len(ranks)}" / "last.ckpt"
    stored = torch.load(path, weights_only=True)
    assert stored["global_step"] == 4
    assert all(value.isfinite().all() for value in stored["state_dict"].values())


@pytest.mark.slow
def test_the_command_starts_its_ranks_and_has_the_results_of_one_device(
    tmp_path, lightning_command
):
    options = (
        "fit", "--config", "configs/quickstart.yaml", "--trainer.max_epochs", "6",
        "--trainer.accelerator", "cpu", "--model.num_seeds", "3",
    )  # fmt: skip
    alone = lightning_command(*options)
    command = [
        str(Path(sys.executable).parent / "lightning"), *options, "--trainer.devices", "2",
        "--trainer.strategy", "ddp", "--trainer.default_root_dir", str(tmp_path / "two"),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        command, env=environment, cwd=ROOT, check=True, timeout=TIME_LIMIT, capture_output=True
    )
    (two,) = (tmp_path / "two").glob("quickstart/version_*")
    one, other = (json.loads((run / "results.json").read_text()) for run in (alone, two))
    assert one["seeds"] == other["seeds"] == [0, 1, 2]
    assert one["metrics"].keys() == other["metrics"].keys()
    for name, values in one["metrics"].items():
        for here, there in zip(values, other["metrics"][name], strict=True):
            same = pytest.approx(here, rel=1e-4, abs=1e-6) if isinstance(here, float) else here
            assert there == same, name
    assert (two / "figures" / "embedding.png").exists()
