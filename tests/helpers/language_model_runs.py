"""Short runs of a tiny language model: its model, data, trainer and checkpoints, and the losses."""

from __future__ import annotations

import csv
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

BLOCK, BATCH = 16, 4
TINY = partial(GPT2, num_layers=1, num_heads=1, width=16)

# Such runs have these warnings of Lightning's; for `pytestmark` in the files that make them.
expected_warnings = pytest.mark.filterwarnings(
    "ignore:.*The dirpath has changed.*",  # a resumed run has a folder of its own
    "ignore:.*callbacks used to create the checkpoint.*",  # and may write at other steps
    "ignore:.*does not have many workers.*",
)


def make_model(seed: int = 0, head=HarmonicHead, **options) -> LanguageModel:
    """A model of 257 ids; options replace or join its settings."""
    torch.manual_seed(seed)
    settings = {"learning_rate": 1e-2, "warmup_steps": 3, **options}
    settings.setdefault("network", TINY)
    return LanguageModel(head=head, vocab_size=257, context_length=BLOCK, **settings)


def make_data(folder, micro: int = BATCH, **options) -> OpenWebText:
    """The folder's tokens in global batches of four windows, `micro` of them at a time."""
    options = {"tokenizer": "bytes", "block_size": BLOCK, "global_batch_size": BATCH, **options}
    return OpenWebText(str(folder), micro_batch_size=micro, seed=0, **options)


def make_trainer(steps: int = 7, *callbacks, **options) -> L.Trainer:
    """A trainer that neither validates, logs nor writes unless options say so."""
    settings = {
        "max_steps": steps,
        "limit_val_batches": 0,
        "check_val_every_n_epoch": None,
        "log_every_n_steps": 1,
        "logger": False,
        "enable_checkpointing": any(isinstance(c, RunCheckpoint) for c in callbacks),
        "num_sanity_val_steps": 0,
    }
    return L.Trainer(
        accelerator="cpu",
        devices=1,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **{**settings, **options},
    )


def checkpoints(folder: Path, every: int = 1) -> RunCheckpoint:
    """Every step's checkpoint as step_N.ckpt, and last.ckpt."""
    callback = RunCheckpoint(every_n_steps=every, save_top_k=-1)
    callback.dirpath = str(folder)
    return callback


class Losses(L.Callback):
    """The loss of every optimizer step.

    Lightning has divided the loss of a micro-batch by their number.
    """

    def __init__(self) -> None:
        self.per_step: list[float] = []
        self._of_step: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self._of_step.append(float(outputs["loss"]))
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self.per_step.append(sum(self._of_step))
            self._of_step.clear()


def windows(folder: Path, split: str) -> Tensor:
    """All windows of a split in the order of the file, (W, BLOCK + 1)."""
    tokens = torch.from_numpy(np.fromfile(folder / f"{split}.bin", "<u2").astype(np.int64))
    return torch.stack(
        [tokens[i : i + BLOCK + 1] for i in range(0, len(tokens) - BLOCK, BLOCK)]
    )  # fmt: skip


def rows_of(logger: CSVLogger) -> list[dict[str, float]]:
    """The rows of a run's metrics.csv, empty cells left out."""
    with open(Path(logger.log_dir) / "metrics.csv") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
