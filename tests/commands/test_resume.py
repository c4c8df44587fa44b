"""A run that was killed and resumed logs and ends with the bits of an uninterrupted one."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import signal
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
from torch import Tensor

from callbacks import ExactResume, RunCheckpoint
from callbacks.run.exact_resume import KEY, reseed
from datamodules import OpenWebText
from glassbox.cli.main import main
from lightning_modules import GPT2, CrossEntropyHead, LanguageModel
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.xdist_group("resume")
BLOCK, STEPS_PER_EPOCH = 16, 5
NETWORK = partial(GPT2, num_layers=1, num_heads=1, width=16, dropout=0.2)


class Killed(BaseException):
    """Stands for the end of the process: no callback writes anything more."""


class DrawsInValidation(L.Callback):
    """Draws from every global generator, as a careless callback would."""

    def on_validation_epoch_start(self, trainer, pl_module):
        torch.rand(3), np.random.rand(2), random.random()


class KillAt(L.Callback):
    """Ends the process at ('train', step, micro-batch) or ('validate', step, batch)."""

    def __init__(self, moment: tuple[str, int, int] | None) -> None:
        self.moment = moment

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        micro = batch_idx % trainer.accumulate_grad_batches
        if self.moment == ("train", trainer.global_step, micro):
            raise Killed

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.moment == ("validate", trainer.global_step, batch_idx):
            raise Killed


def fit(
    folder: Path, name: str, micro: int = 4, moment=None, ckpt: Path | None = None, seed: int = 0,
    checkpoint: dict[str, Any] | None = None, callbacks: tuple[L.Callback, ...] = (),
    world: int = 1, **options: Any,
) -> Path:  # fmt: skip
    """Run a tiny model with dropout, until it is killed at `moment`; returns the run's folder."""
    reseed(seed)
    model = LanguageModel(
        NETWORK, CrossEntropyHead, 257, BLOCK, learning_rate=1e-2, warmup_steps=3, decay_steps=30
    )
    data = OpenWebText(
        str(folder), tokenizer="bytes", block_size=BLOCK, global_batch_size=4,
        micro_batch_size=micro, seed=0,
    )  # fmt: skip
    logger = CSVLogger(folder.parent, name, version=0)
    # Checkpoints at 2, 4, ..., logs at 3, 6, ..., validations at 4, 8, ..., epochs end at 5, 10.
    settings = {
        "max_steps": 12, "log_every_n_steps": 3, "val_check_interval": 4,
        "check_val_every_n_epoch": None, **options,
    }  # fmt: skip
    trainer = L.Trainer(
        accelerator="cpu", devices=world, strategy="ddp" if world > 1 else "auto", logger=logger,
        num_sanity_val_steps=1, use_distributed_sampler=False,
        enable_progress_bar=False, enable_model_summary=False,
        callbacks=[
            DrawsInValidation(), KillAt(moment), ExactResume(), *callbacks,
            RunCheckpoint(**{"every_n_steps": 2, **(checkpoint or {})}),
        ],
        **settings,
    )  # fmt: skip
    with pytest.raises(Killed) if moment else contextlib.nullcontext():
        trainer.fit(model, data, ckpt_path=ckpt, weights_only=True)
    return Path(logger.log_dir)


def last(folder: Path) -> Path:
    return folder / "checkpoints" / "last.ckpt"


def stored(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def rows(folder: Path) -> list[tuple[int, dict[str, str]]]:
    """Every logged row as text, with all its digits, by optimizer step."""
    if not (folder / "metrics.csv").exists():  # killed before anything was logged
        return []
    with open(folder / "metrics.csv") as file:
        filled = [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]
    return [(int(row.pop("step")), row) for row in filled]


def equal(one: Any, two: Any) -> bool:
    """Whether two trees of tensors and plain values have the same bits."""
    if isinstance(one, Tensor):
        return isinstance(two, Tensor) and one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(equal, one, two))
    return one == two


def assert_same_end(one: Path, two: Path) -> None:
    """The last checkpoints agree in weights, optimizer, schedule, random state and running sums."""
    first, second = stored(last(one)), stored(last(two))
    for part in ("global_step", "state_dict", "optimizer_states", "lr_schedulers", KEY):
        assert equal(first[part], second[part]), part


def assert_same_rows(complete: Path, killed: Path, resumed: Path, step: int) -> None:
    """The rows up to the killed run's checkpoint and those after it are all rows, and no more."""
    assert [row for row in rows(killed) if row[0] <= step] + rows(resumed) == rows(complete)


def write_tokens(folder: Path) -> Path:
    """Five steps an epoch of four random windows, and seven held-out windows."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split, windows in (("train", 4 * STEPS_PER_EPOCH + 2), ("val", 7)):
        tokens = rng.integers(0, 256, windows * BLOCK + 1)
        tokens.astype("<u2").tofile(folder / f"{split}.bin")
    return folder


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("resume") / "tokens")


@pytest.fixture(scope="module")
def straight(tokens) -> dict[int, Path]:
    """Uninterrupted runs by the size of their micro-batches."""
    return {micro: fit(tokens, f"straight_{micro}", micro) for micro in (4, 1)}


MOMENTS = {
    "before the second checkpoint": (("train", 3), 2),
    "after a checkpoint with validation": (("train", 8), 8),
    "in a validation before its checkpoint": (("validate", 8), 6),
    "after a checkpoint at the end of an epoch": (("train", 10), 10),
    "in the last step": (("train", 11), 10),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_a_killed_run_logs_and_ends_as_an_uninterrupted_one(tokens, straight, tmp_path, name):
    micro = 4 if name == "in the last step" else 1
    (kind, step), expected = MOMENTS[name]
    batch = 2 if kind == "train" and micro == 1 else 0  # between the micro-batches of a step
    killed = fit(tokens, f"{tmp_path.name}_killed", micro, (kind, step, batch))
    assert stored(last(killed))["global_step"] == expected
    resumed = fit(tokens, f"{tmp_path.name}_resumed", micro, ckpt=last(killed), seed=1)
    assert_same_end(straight[micro], resumed)
    assert_same_rows(straight[micro], killed, resumed, expected)
    assert rows(killed) == rows(straight[micro])[: len(rows(killed))]


def test_the_random_state_in_the_checkpoint_matters(tokens, straight, tmp_path):
    """Otherwise the test above would pass without it."""
    content = stored(straight[4] / "checkpoints" / "previous.ckpt")
    del content[KEY]
    torch.save(content, tmp_path / "without.ckpt")
    resumed = fit(tokens, f"{tmp_path.name}_x", ckpt=tmp_path / "without.ckpt", seed=1)
    assert not equal(stored(last(straight[4]))["state_dict"], stored(last(resumed))["state_dict"])


def test_a_run_that_ended_with_a_validation_can_be_lengthened(tokens, straight, tmp_path):
    """Its rows are at the same steps, which Lightning alone would shift by one."""
    longer = fit(tokens, f"{tmp_path.name}_longer", max_steps=18)
    rest = fit(tokens, f"{tmp_path.name}_rest", ckpt=last(straight[4]), seed=1, max_steps=18)
    assert_same_end(longer, rest)
    assert rows(straight[4]) + rows(rest) == rows(longer)


def test_a_run_with_checkpoints_after_epochs_is_resumed_with_the_same_bits(tokens, tmp_path):
    by_epoch: dict[str, Any] = {
        "max_steps": -1, "max_epochs": 3, "check_val_every_n_epoch": 1, "val_check_interval": 1.0,
        "checkpoint": {"every_n_steps": None, "every_n_epochs": 1}, "log_every_n_steps": 2,
    }  # fmt: skip
    complete = fit(tokens, f"{tmp_path.name}_complete", 2, **by_epoch)
    for step in (8, 10):
        name, saved = f"{tmp_path.name}_{step}", step // 5 * 5
        killed = fit(tokens, f"{name}_killed", 2, ("train", step, 0), **by_epoch)
        assert stored(last(killed))["global_step"] == saved
        resumed = fit(tokens, f"{name}_resumed", 2, ckpt=last(killed), seed=1, **by_epoch)
        assert_same_end(complete, resumed)
        assert rows(resumed) == [row for row in rows(complete) if row[0] > saved]


def test_a_new_run_on_one_rank_keeps_the_random_state_of_its_seed():
    torch.manual_seed(3)
    expected = torch.get_rng_state()
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    ExactResume().on_train_start(trainer, L.LightningModule())
    assert torch.equal(torch.get_rng_state(), expected)


# ---- real processes ----------------------------------------------------------------------------

# Kills itself as `kill -9` would: after this many micro-batches, or while writing the n-th
# checkpoint.
KILLED = """
import os, signal, sys
import torch
from lightning_modules import LanguageModel
from glassbox.cli.main import main

what, count = sys.argv[1], int(sys.argv[2])
step, save = LanguageModel.training_step, torch.save

def count_down():
    global count
    count -= 1
    return count < 0

def training_step(self, batch, batch_idx):
    if what == "step" and count_down():
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, batch_idx)

def half_saved(content, file):
    if count_down():
        file.write(b"PK" + bytes(1000))
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return save(content, file)

LanguageModel.training_step = training_step
if what == "save":
    torch.save = half_saved
main(sys.argv[3:])
"""


def command(tokens: Path, root: Path, *arguments: str) -> list[str]:
    return [
        "fit", "--config", "configs/gpt2/gpt2_cpu.yaml", "--data.data_dir", str(tokens),
        "--data.tokenizer", "bytes", "--data.block_size", str(BLOCK),
        "--data.global_batch_size", "4", "--data.micro_batch_size", "2",
        "--model.network.num_layers", "1", "--model.network.num_heads", "1",
        "--model.network.width", "16", "--model.network.dropout", "0.2",
        "--model.learning_rate", "1e-2", "--model.warmup_steps", "2",
        "--trainer.max_steps", "16", "--trainer.val_check_interval", "4",
        "--trainer.log_every_n_steps", "3", "--trainer.precision", "32-true",
        "--trainer.callbacks", "[]", "--checkpoint.every_n_steps", "2",
        "--trainer.default_root_dir", str(root), *arguments,
    ]  # fmt: skip


def versions(root: Path) -> list[Path]:
    return sorted((root / "gpt2_cpu").glob("version_*"), key=lambda path: int(path.name[8:]))


@pytest.fixture(scope="module")
def complete(tokens, tmp_path_factory) -> Path:
    """The folder of an uninterrupted `lightning fit`."""
    root = tmp_path_factory.mktemp("complete")
    with contextlib.chdir(ROOT):
        main(command(tokens, root))
    return versions(root)[0]


@pytest.mark.parametrize("what", ["step", "save"])
def test_kill_9_and_the_same_command_again(tokens, complete, in_root, tmp_path, capsys, what):
    count = random.SystemRandom().randrange(5, 31) if what == "step" else 4  # of 32; steps 2 to 8
    again = command(tokens, tmp_path, "--ckpt_path", "last")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, what, str(count), *again],
        capture_output=True, text=True, cwd=in_root, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    main(again)
    killed, resumed = versions(tmp_path)
    step = 8 if what == "save" else count // 2 // 2 * 2
    assert f"{killed}/checkpoints/last.ckpt, step {step}" in capsys.readouterr().out, count
    assert_same_end(complete, resumed)
    assert_same_rows(complete, killed, resumed, step)
    metrics = [json.loads((f / "results.json").read_text())["metrics"] for f in (complete, resumed)]
    assert metrics[0] == metrics[1]
