"""The same run on one, two and three ranks (gloo, CPU): losses, metrics, checkpoints."""

from __future__ import annotations

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

from callbacks import RunSummary
from datamodules import AlgorithmicData, ModularAddition, OpenWebText
from lightning_modules import GPT2, MLP, Classifier, CrossEntropyHead, HarmonicHead, LanguageModel
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.ddp
BLOCK, TIME_LIMIT = 16, 400
SEEDS = 5  # 2 and 3, or 1, 2 and 2 of them a rank


class History(L.Callback):
    """Every number that was logged, by optimizer step."""

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []

    def on_train_epoch_end(self, trainer, pl_module):
        self._note(trainer)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step and batch_idx % trainer.accumulate_grad_batches == 0:
            self._note(trainer)

    def on_train_end(self, trainer, pl_module):
        self._note(trainer)

    def _note(self, trainer) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.rows.append([trainer.global_step, values])


def trainer(world: int, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        devices=world,
        strategy="ddp" if world > 1 else "auto",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **options,
    )


def language_model(folder: Path, world: int) -> list[list[Any]]:
    """Fifty steps of a tiny GPT, validated on seven windows (uneven on two and on three ranks)."""
    torch.manual_seed(0)
    history = History()
    model = LanguageModel(
        partial(GPT2, num_layers=1, num_heads=1, width=16), CrossEntropyHead, 257, BLOCK,
        learning_rate=1e-2, warmup_steps=5,
    )  # fmt: skip
    data = OpenWebText(
        str(folder / "tokens"), tokenizer="bytes", block_size=BLOCK, global_batch_size=6,
        micro_batch_size=1, seed=0,
    )  # fmt: skip
    trainer(
        world, history, max_steps=50, val_check_interval=10, check_val_every_n_epoch=None,
        log_every_n_steps=1,
    ).fit(model, data)  # fmt: skip
    return history.rows


def classifier(
    world: int, num_seeds: int, epochs: int = 4, ckpt_path: str | None = None, save: str = ""
) -> dict[str, Any]:
    """Some epochs of MLPs on modular addition; what was logged and every seed's end."""
    history = History()
    model = Classifier(
        MLP, partial(HarmonicHead, exponent=2, eps=1e-4), num_seeds=num_seeds, compile="never"
    )
    data = AlgorithmicData(ModularAddition(31), num_samples=300)
    run = trainer(world, history, max_epochs=epochs, log_every_n_steps=8)
    run.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    if save:
        run.save_checkpoint(save, weights_only=False)
    scores = {name: value.tolist() for name, value in model.scores().items()}
    return {
        "rows": history.rows,
        "scores": scores,
        "embedding": model.embedding_matrix().tolist(),
        "trained": model.shard().ensemble.seeds,
    }


def unvalidated(world: int) -> dict[str, Any]:
    """The scores of a run that stops before its first validation, but for the sanity check."""
    model = Classifier(MLP, HarmonicHead, num_seeds=SEEDS, compile="never")
    data = AlgorithmicData(ModularAddition(31), num_samples=60)
    run = L.Trainer(
        accelerator="cpu", devices=world, strategy="ddp" if world > 1 else "auto", max_epochs=2,
        check_val_every_n_epoch=5, callbacks=[RunSummary(table=False)], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, log_every_n_steps=1,
    )  # fmt: skip
    run.fit(model, datamodule=data)
    return {name: value.tolist() for name, value in model.scores().items()}


def on_rank(rank: int, world: int, folder: str, port: int) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world),
        GROUP_RANK="0", TORCHELASTIC_RUN_ID="test", MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port), OMP_NUM_THREADS="1",
    )  # fmt: skip
    torch.set_num_threads(1)
    here = Path(folder)
    found: dict[str, Any] = {"language_model": language_model(here, world)}
    found["seeds"] = classifier(world, SEEDS, save=str(here / f"seeds_{world}.ckpt"))
    found["one_seed"] = classifier(world, 1)
    found["unvalidated"] = unvalidated(world)
    if (alone := here / "seeds_1.ckpt").exists():
        found["resumed"] = classifier(world, SEEDS, epochs=6, ckpt_path=str(alone))
    (here / f"world_{world}_rank_{rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ranks")
    (path / "tokens").mkdir()
    rng = np.random.default_rng(0)
    for split, windows in (("train", 200), ("val", 7)):
        tokens = rng.integers(0, 64, windows * BLOCK + 1).astype("<u2")
        tokens.tofile(path / "tokens" / f"{split}.bin")
    return path


@pytest.fixture(scope="module")
def alone(folder) -> dict[str, Any]:
    """What one process finds."""
    return {
        "language_model": language_model(folder, 1),
        "seeds": classifier(1, SEEDS, save=str(folder / "seeds_1.ckpt")),
        "one_seed": classifier(1, 1),
        "longer": classifier(1, SEEDS, epochs=6),
    }


@pytest.fixture(scope="module", params=[2, 3])
def ranks(request, folder, alone, spawn_ranks) -> list[dict[str, Any]]:
    """What each of two, of three ranks finds."""
    world = request.param
    spawn_ranks(on_rank, world, world, str(folder))
    return [json.loads((folder / f"world_{world}_rank_{r}.json").read_text()) for r in range(world)]


def assert_same_history(rows: list[Any], expected: list[Any], rel: float, validated: float) -> None:
    assert [step for step, _ in rows] == [step for step, _ in expected]
    for (step, here), (_, there) in zip(rows, expected, strict=True):
        assert here.keys() == there.keys()
        for name, value in there.items():
            limit = rel if name.startswith("train/") else validated
            assert here[name] == pytest.approx(value, rel=limit), (step, name)


def test_fifty_steps_of_a_language_model_have_the_losses_of_one_rank(ranks, alone):
    expected = alone["language_model"]
    assert len(expected) >= 50 and {"val/loss", "val/perplexity"} <= expected[-1][1].keys()
    assert expected[-1][1]["train/loss"] < 0.9 * expected[0][1]["train/loss"]  # it learns
    for rank in ranks:
        assert_same_history(rank["language_model"], expected, rel=1e-4, validated=1e-5)


def test_seeds_are_spread_and_every_rank_knows_the_scores_of_all(ranks, alone):
    trained = [rank["seeds"]["trained"] for rank in ranks]
    assert sorted(seed for seeds in trained for seed in seeds) == list(range(SEEDS))
    assert max(map(len, trained)) - min(map(len, trained)) <= 1
    for rank in ranks:
        assert_same_history(rank["seeds"]["rows"], alone["seeds"]["rows"], 1e-5, 1e-5)
        for name, values in alone["seeds"]["scores"].items():
            expected = pytest.approx(values, rel=1e-5, nan_ok=True)
            assert rank["seeds"]["scores"][name] == expected, name
        torch.testing.assert_close(
            torch.tensor(rank["seeds"]["embedding"]), torch.tensor(alone["seeds"]["embedding"])
        )


def test_a_run_without_a_validation_ends_and_has_no_scores_of_the_untrained_network(ranks):
    alone = unvalidated(1)
    for scores in (alone, *(rank["unvalidated"] for rank in ranks)):
        assert all(math.isnan(value) for values in scores.values() for value in values)


def test_one_seed_is_trained_by_all_ranks_together(ranks, alone):
    for rank in ranks:
        assert rank["one_seed"]["trained"] == [0]
        assert_same_history(rank["one_seed"]["rows"], alone["one_seed"]["rows"], 1e-5, 1e-5)
        torch.testing.assert_close(
            torch.tensor(rank["one_seed"]["embedding"]),
            torch.tensor(alone["one_seed"]["embedding"]),
            rtol=1e-4,
            atol=1e-6,
        )


def test_a_checkpoint_of_spread_seeds_is_that_of_one_rank(ranks, alone, folder):
    one = torch.load(folder / "seeds_1.ckpt", weights_only=True)
    many = torch.load(folder / f"seeds_{len(ranks)}.ckpt", weights_only=True)
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(many["state_dict"][name], value)
    states = (one["optimizer_states"][0]["state"], many["optimizer_states"][0]["state"])
    assert states[0].keys() == states[1].keys()
    for index, entry in states[0].items():
        for name, value in entry.items():
            torch.testing.assert_close(states[1][index][name], value)


def test_a_run_of_one_rank_goes_on_with_several(ranks, alone):
    for rank in ranks:
        torch.testing.assert_close(
            torch.tensor(rank["resumed"]["embedding"]), torch.tensor(alone["longer"]["embedding"])
        )


@pytest.mark.slow
def test_the_command_itself_starts_its_ranks_and_its_results_are_those_of_one_device(
    tmp_path, lightning_command
):
    options = (
        "fit", "--config", "configs/quickstart.yaml", "--trainer.max_epochs", "6",
        "--trainer.accelerator", "cpu", "--model.num_seeds", "3",
    )  # fmt: skip
    alone = lightning_command(*options)
    script = Path(sys.executable).parent / "lightning"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [
            *(str(script), *options, "--trainer.devices", "2", "--trainer.strategy", "ddp"),
            *("--trainer.default_root_dir", str(tmp_path / "two")),
        ],
        env=environment, cwd=ROOT, check=True, timeout=TIME_LIMIT,
        capture_output=True,
    )  # fmt: skip
    (two,) = (tmp_path / "two").glob("quickstart/version_*")
    one, other = (json.loads((run / "results.json").read_text()) for run in (alone, two))
    assert one["seeds"] == other["seeds"] == [0, 1, 2]
    assert one["metrics"].keys() == other["metrics"].keys()
    for name, values in one["metrics"].items():
        for here, there in zip(values, other["metrics"][name], strict=True):
            same = pytest.approx(here, rel=1e-4, abs=1e-6) if isinstance(here, float) else here
            assert there == same, name
    assert (two / "figures" / "embedding.png").exists()
