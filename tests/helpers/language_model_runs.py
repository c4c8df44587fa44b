"""Short runs of a tiny language model: its model, data, trainer, checkpoints and losses."""

from __future__ import annotations

import csv
import shutil
from functools import partial
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from callbacks import RunCheckpoint
from datamodules import OpenWebText
from lightning_modules import GPT2, HarmonicHead, LanguageModel
from tests.helpers.trainers import quiet_trainer

BLOCK, BATCH = 16, 4
TINY = partial(GPT2, num_layers=1, num_heads=1, width=16)

# For `pytestmark` in the files that make such runs.
expected_warnings = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


def make_model(seed: int = 0, head=HarmonicHead, **options) -> LanguageModel:
    """A model with 257 tokens; options override its settings."""
    torch.manual_seed(seed)
    settings = {"learning_rate": 1e-2, "warmup_steps": 3, **options}
    settings.setdefault("network", TINY)
    return LanguageModel(head=head, vocab_size=257, context_length=BLOCK, **settings)


def make_data(folder, micro: int = BATCH, **options) -> OpenWebText:
    """The folder's tokens in global batches of four windows, in micro-batches of `micro`."""
    options = {"tokenizer": "bytes", "block_size": BLOCK, "global_batch_size": BATCH, **options}
    return OpenWebText(str(folder), micro_batch_size=micro, seed=0, **options)


def make_trainer(steps: int = 7, *callbacks, **options) -> L.Trainer:
    """A trainer that does not validate, log or write unless the options differ."""
    settings = {
        "max_steps": steps,
        "max_epochs": None,
        "limit_val_batches": 0,
        "check_val_every_n_epoch": None,
        "enable_checkpointing": any(isinstance(c, RunCheckpoint) for c in callbacks),
    }
    return quiet_trainer(*callbacks, **{**settings, **options})


class KeepEveryCheckpoint(RunCheckpoint):
    """Every checkpoint as step_N.ckpt, beside last.ckpt."""

    def _save(self, trainer: L.Trainer) -> None:
        super()._save(trainer)
        shutil.copy(self._path, Path(self._path).with_name(f"step_{trainer.global_step}.ckpt"))


def checkpoints(folder: Path, every: int = 1) -> RunCheckpoint:
    """Checkpoints of every step, or every this many."""
    callback = KeepEveryCheckpoint(every_n_steps=every)
    callback.dirpath = str(folder)
    return callback


class Losses(L.Callback):
    """The loss of every optimizer step."""

    def __init__(self) -> None:
        self.per_step: list[float] = []
        self._micro_batches: list[float] = []  # each divided by their number, as Lightning does

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self._micro_batches.append(float(outputs["loss"]))
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self.per_step.append(sum(self._micro_batches))
            self._micro_batches.clear()


def windows(folder: Path, split: str) -> Tensor:
    """All windows of a split in the order of the file, (W, BLOCK + 1)."""
    tokens = torch.from_numpy(np.fromfile(folder / f"{split}.bin", "<u2").astype(np.int64))
    return torch.stack([tokens[i : i + BLOCK + 1] for i in range(0, len(tokens) - BLOCK, BLOCK)])


def rows_of(logger: CSVLogger) -> list[dict[str, float]]:
    """The rows of a run's metrics.csv without empty cells."""
    with open(Path(logger.log_dir) / "metrics.csv") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
