"""A killed and resumed run logs, and ends with, the same bits as an uninterrupted one."""

from __future__ import annotations

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
from callbacks.run.exact_resume import KEY, random_state, reseed, restore_random_state
from datamodules import OpenWebText
from lightning_modules import GPT2, CrossEntropyHead, LanguageModel

BLOCK, STEPS_PER_EPOCH = 16, 5
NETWORK = partial(GPT2, num_layers=1, num_heads=1, width=16, dropout=0.2)

pytestmark = pytest.mark.filterwarnings("ignore:.*The dirpath has changed.*")


class Killed(BaseException):
    """Stands for the end of the process: no callback writes anything any more."""


class DrawsInValidation(L.Callback):
    """Takes numbers from every global generator, as a careless callback would."""

    def on_validation_epoch_start(self, trainer, pl_module):
        torch.rand(3), np.random.rand(2), random.random()


class KillAt(L.Callback):
    """Ends everything at a moment: ('train', step, micro_batch) or ('validate', step, batch)."""

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
    """A run of a tiny model with dropout; returns its folder."""
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
    settings = {"max_steps": 16, "log_every_n_steps": 3, "val_check_interval": 4, **options}
    settings.setdefault("check_val_every_n_epoch", None)
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
    if moment is None:
        trainer.fit(model, data, ckpt_path=ckpt, weights_only=True)
    else:
        with pytest.raises(Killed):
            trainer.fit(model, data, ckpt_path=ckpt, weights_only=True)
    return Path(logger.log_dir)


def last(folder: Path) -> Path:
    return folder / "checkpoints" / "last.ckpt"


def stored(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def rows(folder: Path) -> list[tuple[int, dict[str, str]]]:
    """Every logged row as text, all digits of it, by optimizer step."""
    if not (folder / "metrics.csv").exists():  # killed before anything was logged
        return []
    with open(folder / "metrics.csv") as file:
        logged = [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]
    return [(int(row.pop("step")), row) for row in logged]


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
    """Weights, optimizer, schedule, random numbers and running sums of two last checkpoints."""
    first, second = stored(last(one)), stored(last(two))
    for part in ("global_step", "state_dict", "optimizer_states", "lr_schedulers", KEY):
        assert equal(first[part], second[part]), part


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("resume") / "tokens"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split, windows in (("train", 4 * STEPS_PER_EPOCH + 2), ("val", 7)):
        tokens = rng.integers(0, 256, windows * BLOCK + 1)
        tokens.astype("<u2").tofile(folder / f"{split}.bin")
    return folder


@pytest.fixture(scope="module")
def straight(tokens) -> dict[int, Path]:
    """Uninterrupted runs by micro-batch size."""
    return {micro: fit(tokens, f"straight_{micro}", micro) for micro in (4, 1)}


MOMENTS = {
    "before the second checkpoint": (("train", 3), 2),
    "right behind a checkpoint": (("train", 6), 6),
    "behind one at a validation": (("train", 8), 8),
    "in a validation with a checkpoint": (("validate", 8), 6),
    "in the second epoch": (("train", 7), 6),
    "behind one at the end of an epoch": (("train", 10), 10),
    "over the end of an epoch": (("train", 5), 4),
    "in the last step": (("train", 15), 14),
    "in the last validation": (("validate", 16), 14),
}


@pytest.mark.parametrize(
    ("name", "micro"),
    [*((name, 1) for name in MOMENTS), *((name, 4) for name in [*MOMENTS][::3])],
)
def test_a_killed_and_resumed_run_logs_and_ends_as_an_uninterrupted_one(
    tokens, straight, tmp_path, name, micro
):
    (kind, step), expected = MOMENTS[name]
    batch = 2 if kind == "train" and micro == 1 else 0  # between the micro-batches of a step
    killed = fit(tokens, f"{tmp_path.name}_killed", micro, (kind, step, batch))
    assert stored(last(killed))["global_step"] == expected
    resumed = fit(tokens, f"{tmp_path.name}_resumed", micro, ckpt=last(killed), seed=1)
    assert_same_end(straight[micro], resumed)
    # What the killed run logged up to its checkpoint and the resumed one after is everything.
    before = [row for row in rows(killed) if row[0] <= expected]
    assert before + rows(resumed) == rows(straight[micro])
    assert rows(killed) == rows(straight[micro])[: len(rows(killed))]


def test_dropout_acts_and_the_checkpoint_s_random_numbers_matter(tokens, straight, tmp_path):
    """Else the tests above would hold without them."""
    path = tmp_path / "without.ckpt"
    content = stored(straight[4] / "checkpoints" / "previous.ckpt")
    del content[KEY]
    torch.save(content, path)
    resumed = fit(tokens, f"{tmp_path.name}_without", ckpt=path, seed=1)
    assert not equal(stored(last(straight[4]))["state_dict"], stored(last(resumed))["state_dict"])


def test_a_run_that_ended_with_a_validation_can_be_lengthened(tokens, tmp_path):
    """And its rows stand at the same steps, which Lightning alone would shift by one."""
    longer = fit(tokens, f"{tmp_path.name}_longer", max_steps=24)
    half = fit(tokens, f"{tmp_path.name}_half", max_steps=12)
    rest = fit(tokens, f"{tmp_path.name}_rest", ckpt=last(half), seed=1, max_steps=24)
    assert_same_end(longer, rest)
    assert rows(half) + rows(rest) == rows(longer)


def test_a_run_with_a_checkpoint_per_epoch_resumes_with_the_same_bits(tokens, tmp_path):
    by_epoch: dict[str, Any] = {
        "max_steps": -1, "max_epochs": 3, "check_val_every_n_epoch": 1, "val_check_interval": 1.0,
        "checkpoint": {"every_n_steps": None, "every_n_epochs": 1}, "log_every_n_steps": 2,
    }  # fmt: skip
    whole = fit(tokens, f"{tmp_path.name}_whole", 2, **by_epoch)
    for step in (5, 8, 12):
        name = f"{tmp_path.name}_{step}"
        killed = fit(tokens, f"{name}_killed", 2, ("train", step, 0), **by_epoch)
        assert stored(last(killed))["global_step"] == step // 5 * 5
        resumed = fit(tokens, f"{name}_resumed", 2, ckpt=last(killed), seed=1, **by_epoch)
        assert_same_end(whole, resumed)
        assert rows(resumed) == [row for row in rows(whole) if row[0] > step // 5 * 5]


def test_random_numbers_continue_from_a_saved_state():
    def draw() -> list[Any]:
        return [torch.rand(3), torch.randn(1), np.random.normal(size=3).tolist(), random.gauss()]

    device = torch.device("cpu")
    reseed(1)
    draw()
    state = random_state(device)
    expected = draw()
    reseed(2)
    assert not equal(draw(), expected)
    restore_random_state(state, device)
    assert equal(draw(), expected)


def test_a_rank_s_random_numbers_are_a_function_of_seed_and_rank():
    draws: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for numbers in ((0, 1), (0, 2), (1, 1), (0, 1)):
        reseed(*numbers)
        draws.setdefault(numbers, []).append((float(torch.rand(1)), random.random()))
    assert draws[0, 1][0] == draws[0, 1][1]
    assert len({values[0][0] for values in draws.values()}) == 3


def test_a_fresh_run_on_one_rank_keeps_the_numbers_of_its_seed(tokens, straight):
    """Runs from before there was an ExactResume come out the same."""
    torch.manual_seed(3)
    expected = torch.get_rng_state()
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    ExactResume().on_train_start(trainer, LanguageModel(NETWORK, CrossEntropyHead, 257, BLOCK))
    assert not torch.equal(torch.get_rng_state(), expected)  # the model's weights were drawn
    torch.manual_seed(3)
    ExactResume().on_train_start(trainer, L.LightningModule())
    assert torch.equal(torch.get_rng_state(), expected)


# ---- for real ----------------------------------------------------------------------------------

# Kills itself as `kill -9` would: after a number of micro-batches, or while it writes the n-th
# checkpoint.
KILLED = """
import os, signal, sys
import torch
from lightning_modules import LanguageModel
from glassbox.cli.main import main

what, count = sys.argv[1], int(sys.argv[2])
step, save = LanguageModel.training_step, torch.save

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def training_step(self, batch, batch_idx):
    global count
    if what == "step":
        count -= 1
        if count < 0:
            die()
    return step(self, batch, batch_idx)

def half_saved(content, file):
    global count
    count -= 1
    if count < 0:
        file.write(b"PK" + bytes(1000))
        file.flush()
        die()
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


@pytest.mark.parametrize("what", ["step", "save"])
def test_kill_9_and_the_same_command_with_ckpt_path_last(tokens, in_root, tmp_path, capsys, what):
    from glassbox.cli.main import main

    main(command(tokens, tmp_path / "straight"))
    (whole,) = versions(tmp_path / "straight")
    count = random.SystemRandom().randrange(5, 31) if what == "step" else 4  # of 32; steps 2 to 8
    again = command(tokens, tmp_path / "killed", "--ckpt_path", "last")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, what, str(count), *again],
        capture_output=True, text=True, cwd=in_root, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert "there is no checkpoint of this run" in done.stdout
    main(again)
    killed, resumed = versions(tmp_path / "killed")
    step = 8 if what == "save" else count // 2 // 2 * 2
    printed = capsys.readouterr().out
    assert f"resuming from {killed}/checkpoints/last.ckpt, step {step}" in printed, count
    assert_same_end(whole, resumed)
    before = [row for row in rows(killed) if row[0] <= step]
    assert before + rows(resumed) == rows(whole), count
    metrics = [json.loads((f / "results.json").read_text())["metrics"] for f in (whole, resumed)]
    assert metrics[0] == metrics[1]
