"""Probes of texts and the choice of the best weights on one, two and three ranks (gloo, CPU)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks import ModelSelection, WordCapacity, WordDeletion
from tests.helpers.planted_words import (
    planted_data,
    small_classifier,
    text_trainer,
    trained_classifier,
)

pytestmark = pytest.mark.ddp


def probes() -> list[Any]:
    return [
        WordDeletion(num_random_draws=2, deletion_percents=[0, 30, 60], max_sweep_texts=30),
        WordCapacity(["ffn1", "vmask"]),
    ]


def numbers(callbacks: list[Any]) -> dict[str, list[float]]:
    values = {name: value for callback in callbacks for name, value in callback.results.items()}
    values.update({f"curve/{name}": value for name, value in callbacks[0].arrays.items()})
    return {name: torch.as_tensor(value).flatten().tolist() for name, value in values.items()}


def measured(folder: Path, world: int) -> dict[str, dict[str, list[float]]]:
    """Trained weights in `validate` and `test`, and a short `fit` without dropout."""
    # 73 and 61 texts in batches of 12: the last batch is padding for a rank.
    data = planted_data(folder, batch_size=12)
    strategy = {"devices": world, "strategy": "ddp" if world > 1 else "auto"}
    model = small_classifier(data)
    model.load_state_dict(torch.load(folder / "trained.pt"))
    callbacks = probes()
    text_trainer(*callbacks, **strategy).validate(model, datamodule=data, verbose=False)
    text_trainer(*callbacks, **strategy).test(model, datamodule=data, verbose=False)
    runs = {"trained": numbers(callbacks)}
    model = small_classifier(data, vmask=False, dropout=0.0, lambda_interaction=0.1)
    callbacks = [
        WordDeletion(num_random_draws=2, deletion_percents=[]),
        WordCapacity(["ffn1"]),
        ModelSelection(),
    ]
    trainer = text_trainer(*callbacks, max_epochs=3, **strategy)
    trainer.fit(model, datamodule=data)
    runs["fitted"] = {**numbers(callbacks), "test": model.scores()["test/accuracy"].tolist()}
    return runs


def on_rank(rank: int, world: int, folder: str, port: int) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world),
        GROUP_RANK="0", TORCHELASTIC_RUN_ID="test", MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port), OMP_NUM_THREADS="1",
    )  # fmt: skip
    torch.set_num_threads(1)
    runs = measured(Path(folder), world)
    (Path(folder) / f"world_{world}_rank_{rank}.json").write_text(json.dumps(runs))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    trained = trained_classifier(tmp_path_factory.mktemp("planted"))
    torch.save(trained.model.state_dict(), trained.folder / "trained.pt")
    return trained.folder


@pytest.fixture(scope="module")
def alone(folder) -> dict[str, dict[str, list[float]]]:
    return measured(folder, 1)


@pytest.mark.parametrize("world", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_every_rank_has_the_numbers_of_one(world, folder, alone, spawn_ranks):
    spawn_ranks(on_rank, world, world, str(folder))
    assert len(alone["trained"]) > 25
    assert alone["trained"]["test/deletion/swept_texts"] == [37]  # batches of 1, 12, 12 and 12
    for rank in range(world):
        runs = json.loads((folder / f"world_{world}_rank_{rank}.json").read_text())
        for run, values in alone.items():
            assert runs[run].keys() == values.keys()
            for name, value in values.items():
                # Trained weights are the same, and accuracies are counts: to the digit. After
                # steps of Adam weights differ by rounding, and a word may be deleted for another.
                counts = run == "fitted" and "capacity" not in name
                limits = {"abs": 2.1 / 61} if counts else {"rel": 1e-3 if run == "fitted" else 1e-5}
                expected = pytest.approx(value, nan_ok=True, **limits)
                assert runs[run][name] == expected, (world, rank, run, name)
