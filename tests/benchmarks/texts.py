"""Speed of text classifiers against SAFR's authors' way; a script, run by hand.

    python tests/benchmarks/texts.py --data_dir data/sst

Two comparisons, each in turn, as ratios of medians:
- an epoch of SST-2, the SAFR transformer with both terms, batches of 32: every text padded to 128,
  a DataLoader over single texts, `.item()` of loss and correctness at every batch (the authors'
  way), against `lightning fit` on batches of like length;
- the validation set with the probe WordDeletion (SRS at k = 30 %), against a plain validation.
Compiling is used by neither. While other jobs use the cores, give --threads 1.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from callbacks import WordDeletion
from datamodules import SST2
from lightning_modules import CrossEntropyHead, TextClassifier
from lightning_modules.regularizers import importance, interaction

LENGTH, BATCH = 128, 32


class Clock(L.Callback):
    """Times epochs of training and passes over the validation set."""

    def __init__(self) -> None:
        self.epochs: list[float] = []
        self.passes: list[float] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._epoch = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.epochs.append(time.perf_counter() - self._epoch)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._pass = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.passes.append(time.perf_counter() - self._pass)


def model_of(data: SST2) -> TextClassifier:
    """The SAFR transformer with the paper's weights for SST-2."""
    torch.manual_seed(0)
    return TextClassifier(
        head=partial(CrossEntropyHead, bias=True),
        vocab_size=data.vocab_size,
        context_length=LENGTH,
        lambda_importance=1.0,
        lambda_interaction=0.1,
    )


def trainer_with(clock: Clock, *others: L.Callback, **options: object) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        log_every_n_steps=50,
        callbacks=[clock, *others],
        **options,  # type: ignore[arg-type]
    )


def our_epoch(data_dir: str) -> float:
    data = SST2(data_dir=data_dir, max_length=LENGTH, batch_size=BATCH, seed=0)
    clock = Clock()
    trainer = trainer_with(clock, max_epochs=1, limit_val_batches=0)
    trainer.fit(model_of(data), datamodule=data)
    return clock.epochs[0]


def authors_epoch(data_dir: str) -> float:
    data = SST2(data_dir=data_dir, max_length=LENGTH, batch_size=BATCH, seed=0)
    model, texts = model_of(data), data._data().train
    rows = torch.zeros(len(texts), LENGTH, dtype=torch.long)
    for row in range(len(texts)):
        start, length = int(texts.offsets[row]), int(texts.lengths[row])
        rows[row, :length] = torch.from_numpy(texts.tokens[start : start + length].astype("int64"))
    loader = DataLoader(
        TensorDataset(rows, torch.from_numpy(texts.labels.astype("int64"))), BATCH, shuffle=True
    )
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    started = time.perf_counter()
    total = right = 0.0
    for tokens, labels in loader:
        optimizer.zero_grad()
        loss, logits = _loss(model, tokens, labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
        right += (logits.argmax(-1) == labels).sum().item()
    return time.perf_counter() - started


def _loss(model: TextClassifier, tokens: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    mask = tokens != 0
    activations = model.network.forward_with_activations(tokens, mask)
    loss = model.head.loss(activations["features"], labels)
    loss = loss + importance(activations["vmask"], mask, "code")
    loss = loss + 0.1 * interaction(activations["attention_weights"], mask, "code")
    return loss, model.head(activations["features"])


def validation(data_dir: str, *probes: L.Callback) -> float:
    data = SST2(data_dir=data_dir, max_length=LENGTH, batch_size=BATCH, seed=0)
    clock = Clock()
    trainer_with(clock, *probes).validate(model_of(data), datamodule=data, verbose=False)
    return clock.passes[0]


def compare(names: tuple[str, str], one: Callable[[], float], two: Callable[[], float], n: int):
    """Run both in turn, and print the ratio of their medians."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(n):
        for kept, run in zip(times, (one, two), strict=True):
            kept.append(run())
    medians = [statistics.median(part) for part in times]
    for name, median, part in zip(names, medians, times, strict=True):
        print(f"{name:<42}{median:8.2f} s   ({min(part):.2f} to {max(part):.2f})")
    print(f"ratio of medians: {medians[0] / medians[1]:.2f}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="folder of SST-2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = options.data_dir
    compare(
        ("an epoch, padded to 128 with .item()", "an epoch, lightning fit"),
        lambda: authors_epoch(folder),
        lambda: our_epoch(folder),
        options.rounds,
    )
    compare(
        ("validation with SRS at 30 %", "validation"),
        lambda: validation(folder, WordDeletion()),
        lambda: validation(folder),
        max(5, options.rounds),
    )


if __name__ == "__main__":
    main()
