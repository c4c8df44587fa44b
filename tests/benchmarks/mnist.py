"""Speed of an epoch of MNIST against a DataLoader over single images; a script, run by hand.

    python tests/benchmarks/mnist.py --data_dir data/mnist

An epoch of `lightning fit`'s training (one seed, images gathered on the device) and one of plain
PyTorch, in turn, as a ratio of medians: the same head on the pixels, batches of 64, fused AdamW.
The plain one reads a data set image by image, each made a PIL image and turned into a float tensor
of values divided by 255 when it is asked for, as torchvision's `MNIST` with `ToTensor` does
(--lean leaves PIL out), with `.item()` of the loss at every batch. With --seeds 20 ours trains so
many at once, and its time is that of one of them; --compile compiles its step (the epoch that is
timed is the second, so that compiling is not in it). While other jobs use the cores, give
--threads 1 and --cpu, which counts the process's CPU seconds instead of the clock's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import lightning as L
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules import MNIST
from lightning_modules import Classifier, CrossEntropyHead, HarmonicHead, Identity

BATCH, PIXELS, CLASSES = 64, 784, 10
HEADS = {
    "cross-entropy": partial(CrossEntropyHead, bias=True),
    "harmonic": partial(HarmonicHead, exponent=56, eps=1e-4),
}


class SingleImages(Dataset):
    """One image at a time, converted when it is asked for."""

    def __init__(self, images: Tensor, labels: Tensor, lean: bool) -> None:
        self.images, self.labels = images, labels  # (N, 28, 28) uint8, (N,)
        self.lean = lean

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]  # (28, 28)
        if not self.lean:
            picture = Image.fromarray(image.numpy())
            image = torch.from_numpy(np.array(picture, np.uint8, copy=True))
        image = image.unsqueeze(0).to(torch.float32).div(255)  # (1, 28, 28)
        return image, int(self.labels[index])


class Clock(L.Callback):
    """Times the last epoch of training."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = self.now()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds = self.now() - self._started


def our_epoch(
    folder: str,
    head: str,
    seeds: int,
    compile: Literal["always", "never"],
    now: Callable[[], float],
) -> float:
    """Seconds a seed of the second epoch of `lightning fit`, without validation."""
    clock = Clock(now)
    data = MNIST(folder, batch_size=BATCH)
    model = Classifier(
        Identity,
        HEADS[head],
        vocab_size=0,
        num_inputs=PIXELS,
        num_classes=CLASSES,
        tie_embedding=False,
        num_seeds=seeds,
        learning_rate=1e-3,
        compile=compile,
    )
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=2,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        log_every_n_steps=900,
        callbacks=[clock],
    )
    trainer.fit(model, datamodule=data)
    return clock.seconds / seeds


def plain_epoch(
    folder: str, head: str, workers: int, lean: bool, now: Callable[[], float]
) -> float:
    """Seconds of an epoch over single images."""
    train = MNIST(folder)._parts()[0]
    loader = DataLoader(
        SingleImages(train.images, train.labels, lean), BATCH, shuffle=True, num_workers=workers
    )
    torch.manual_seed(0)
    model = HEADS[head](PIXELS, CLASSES)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.01, fused=True)
    started, total = now(), 0.0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = model.loss(images.flatten(1), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return now() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="folder of MNIST's idx files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--workers", type=int, default=0, help="processes of the DataLoader")
    parser.add_argument("--lean", action="store_true", help="single images without PIL")
    parser.add_argument("--seeds", type=int, default=1, help="that `lightning fit` trains at once")
    parser.add_argument(
        "--compile", action="store_true", help="compile the step of `lightning fit`"
    )
    parser.add_argument("--cpu", action="store_true", help="count CPU seconds of this process")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder, now = options.data_dir, time.process_time if options.cpu else time.perf_counter
    compile: Literal["always", "never"] = "always" if options.compile else "never"
    for head in HEADS:
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(options.rounds):
            times[0].append(plain_epoch(folder, head, options.workers, options.lean, now))
            times[1].append(our_epoch(folder, head, options.seeds, compile, now))
        medians = [statistics.median(part) for part in times]
        ours = "lightning fit" + (f", one of {options.seeds} seeds" if options.seeds > 1 else "")
        names = (f"{head}: DataLoader over single images", f"{head}: {ours}")
        for name, median, part in zip(names, medians, times, strict=True):
            print(f"{name:<52}{median:8.2f} s   ({min(part):.2f} to {max(part):.2f})")
        print(f"ratio of medians: {medians[0] / medians[1]:.2f}\n", flush=True)


if __name__ == "__main__":
    main()
