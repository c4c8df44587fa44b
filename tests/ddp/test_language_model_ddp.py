"""A language model on two ranks (gloo, CPU) trains, stops and validates as on one."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

from callbacks import GracefulStop, RunCheckpoint
from datamodules import OpenWebText
from lightning_modules import GPT2, HarmonicHead, LanguageModel

BLOCK = 16


class Scores(L.Callback):
    """What was logged at each optimizer step, as plain numbers."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        known = "train/loss" in trainer.callback_metrics
        if known and batch_idx % trainer.accumulate_grad_batches == 0:
            self._note(trainer)

    def on_train_end(self, trainer, pl_module):
        self._note(trainer)

    def _note(self, trainer) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.rows.append((trainer.global_step, values))


class AtStep(L.Callback):
    """Does something on one rank at the first micro-batch after a number of optimizer steps."""

    def __init__(self, rank: int, step: int, action) -> None:
        self.rank, self.step, self.action = rank, step, action

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        first = batch_idx % trainer.accumulate_grad_batches == 0
        if trainer.global_rank == self.rank and trainer.global_step == self.step and first:
            self.action(batch)


def interrupt(batch) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def run(folder: Path, name: str, world: int, *callbacks: L.Callback, steps: int = 10, **options):
    """Train a tiny model; returns the trainer and the model."""
    torch.manual_seed(0)
    network = partial(GPT2, num_layers=1, num_heads=1, width=16)
    ckpt_path = options.pop("ckpt_path", None)
    model = LanguageModel(
        network, HarmonicHead, 257, BLOCK, learning_rate=1e-2, warmup_steps=3, decay_steps=20
    )
    data = OpenWebText(
        str(folder / "tokens"), tokenizer="bytes", block_size=BLOCK, global_batch_size=4,
        micro_batch_size=1, seed=0,
    )  # fmt: skip
    checkpoint = RunCheckpoint(every_n_steps=2)
    checkpoint.dirpath = str(folder / name)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=world,
        strategy="ddp" if world > 1 else "auto",
        callbacks=[checkpoint, *callbacks],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        max_steps=steps,
        check_val_every_n_epoch=None,
        **{"val_check_interval": 5, "log_every_n_steps": 1, **options},
    )
    trainer.fit(model, data, ckpt_path=ckpt_path, weights_only=True)
    return trainer, model


def on_rank(rank: int, folder: str, port: int) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2",
        GROUP_RANK="0", TORCHELASTIC_RUN_ID="test", MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port), OMP_NUM_THREADS="1",
    )  # fmt: skip
    torch.set_num_threads(1)
    here, found = Path(folder), {}

    scores = Scores()
    run(here, "straight", 2, scores)
    found["rows"] = scores.rows

    stop = GracefulStop()
    half, _ = run(
        here, "half", 2, stop, AtStep(rank=1, step=6, action=interrupt), log_every_n_steps=4
    )
    found["stopped"], found["stopped_at"] = stop.stopped, half.global_step
    scores = Scores()
    last = str(here / "half" / "last.ckpt")
    run(here, "resumed", 2, scores, ckpt_path=last)
    found["resumed_rows"] = scores.rows

    # The last, since ranks that differ cannot go on together.
    head_loss = HarmonicHead.loss

    def loss(self, features, targets, ignore_index=-100):
        value = head_loss(self, features, targets, ignore_index)
        return value * torch.nan if rank == 1 and loss.step() == 5 else value

    loss.step = lambda: 0
    HarmonicHead.loss = loss

    class Watch(L.Callback):
        def on_train_start(self, trainer, pl_module):
            loss.step = lambda: trainer.global_step

    try:
        run(here, "bad", 2, Watch(), log_every_n_steps=6)
        found["error"] = "none"
    except Exception as error:
        found["error"] = f"{type(error).__name__}: {error}"
    Path(folder, f"rank_{rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory, spawn_ranks) -> dict[str, Any]:
    """What two ranks found, and the folder they wrote to."""
    folder = tmp_path_factory.mktemp("ddp")
    (folder / "tokens").mkdir()
    rng = np.random.default_rng(0)
    for split, windows in (("train", 22), ("val", 7)):  # seven: three and four
        tokens = rng.integers(0, 256, windows * BLOCK + 1).astype("<u2")
        tokens.tofile(folder / "tokens" / f"{split}.bin")
    spawn_ranks(on_rank, 2, str(folder))
    found = [json.loads((folder / f"rank_{rank}.json").read_text()) for rank in range(2)]
    return {"folder": folder, "found": found}


@pytest.fixture(scope="module")
def alone(ranks) -> list[tuple[int, dict[str, float]]]:
    """What one process logs."""
    scores = Scores()
    run(ranks["folder"], "alone", 1, scores)
    return scores.rows


@pytest.mark.ddp
def test_losses_are_those_of_one_rank_and_both_ranks_know_them(ranks, alone):
    assert [step for step, _ in alone] == list(range(1, 11))
    for rank in range(2):
        rows = ranks["found"][rank]["rows"]
        assert [step for step, _ in rows] == list(range(1, 11))
        for (_, one), (_, two) in zip(alone, rows, strict=True):
            for name in ("train/loss", "train/gradient_norm", "train/learning_rate"):
                assert two[name] == pytest.approx(one[name], rel=1e-5), name
    assert alone[0][1]["train/loss"] != pytest.approx(alone[-1][1]["train/loss"], rel=1e-2)


@pytest.mark.ddp
def test_validation_of_an_uneven_held_out_set_is_that_of_one_rank(ranks, alone):
    for rank in range(2):
        for (step, one), (_, two) in zip(alone, ranks["found"][rank]["rows"], strict=True):
            assert ("val/loss" in one) == ("val/loss" in two) == (step >= 5)
            for name in ("val/loss", "val/perplexity") if step >= 5 else ():
                assert two[name] == pytest.approx(one[name], rel=1e-6), name


@pytest.mark.ddp
def test_a_checkpoint_is_that_of_one_rank(ranks, alone):
    one, two = (
        torch.load(ranks["folder"] / name / "last.ckpt", weights_only=True)
        for name in ("alone", "straight")
    )
    assert one["state_dict"].keys() == two["state_dict"].keys()
    assert one["global_step"] == two["global_step"] == 10
    for name, value in one["state_dict"].items():
        if not name.endswith("qkv.bias"):  # a key's bias has no effect
            torch.testing.assert_close(two["state_dict"][name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.ddp
def test_ranks_stop_together_though_the_signal_came_to_one(ranks):
    for found in ranks["found"]:
        assert found["stopped"] and found["stopped_at"] == 8  # the next that is logged


@pytest.mark.ddp
def test_ranks_that_stopped_go_on_with_the_same_bits(ranks):
    for found in ranks["found"]:
        straight = dict(found["rows"])
        assert [step for step, _ in found["resumed_rows"]] == [9, 10]
        for step, row in found["resumed_rows"]:
            assert row["train/loss"] == straight[step]["train/loss"]
    one, two = (
        torch.load(ranks["folder"] / name / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("straight", "resumed")
    )
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.ddp
def test_a_loss_that_is_nan_on_one_rank_stops_both_and_spoils_no_checkpoint(ranks):
    for found in ranks["found"]:
        assert found["error"].startswith("ValueError: ") and "step 6;" in found["error"]
    stored = torch.load(ranks["folder"] / "bad" / "last.ckpt", weights_only=True)
    assert stored["global_step"] == 4
    assert all(value.isfinite().all() for value in stored["state_dict"].values())
