"""A task whose important words are known: noise, and two or three key words of the text's class."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch

from datamodules import SST2
from lightning_modules import CrossEntropyHead, TextClassifier, TextTransformer

NOISE = [f"w{i}" for i in range(60)]
KEYS = (["awful", "dull", "flat", "stale"], ["bright", "fresh", "lovely", "warm"])
SIZES = {"train": 480, "dev": 61, "test": 73}  # uneven on two ranks, and in batches of 16


def planted_text(label: int, draw: random.Random) -> str:
    """8 to 15 words, of which two or three are of the class."""
    words = draw.sample(NOISE, k=draw.randint(6, 12))  # none twice: scores have no ties
    for key in draw.sample(KEYS[label], k=draw.choice((2, 3))):
        words.insert(draw.randint(0, len(words)), key)
    return " ".join(words)


def write_planted(folder: Path, seed: int = 0) -> Path:
    """Write the three parts of the task as tables, where the data module finds them."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for part, size in SIZES.items():
        rows = [(planted_text(i % 2, draw), i % 2) for i in range(size)]
        lines = ["sentence\tlabel", *(f"{text}\t{label}" for text, label in rows)]
        (folder / f"{part}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def planted_data(folder: Path, **options: Any) -> SST2:
    """The task's data module; every word is known."""
    settings = {"variant": "standard", "batch_size": 16, "min_frequency": 1, "seed": 0, **options}
    return SST2(str(folder), **settings)


def small_classifier(data: SST2, vmask: bool = True, seed: int = 0, **options: Any) -> Any:
    """A SAFR transformer that learns the task in seconds."""
    torch.manual_seed(seed)
    network = partial(
        TextTransformer,
        width=32,
        num_heads=4,
        feedforward_dim=64,
        mask_dim=32,
        vmask=vmask,
        num_layers=options.pop("num_layers", 1),
        dropout=options.pop("dropout", 0.1),
    )
    return TextClassifier(
        network,
        partial(CrossEntropyHead, bias=True),
        data.vocab_size,
        data.context_length,
        **{"learning_rate": 3e-3, **options},
    )


def text_trainer(*callbacks: L.Callback, **options: Any) -> L.Trainer:
    """A quiet trainer on one processor."""
    return L.Trainer(
        **{
            "callbacks": list(callbacks),
            "logger": False,
            "accelerator": "cpu",
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "use_distributed_sampler": False,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1000,
            "max_epochs": 1,
            **options,
        }
    )


class Trained(NamedTuple):
    """Weights that have learned the key words, the data module, and the folder of its tables."""

    model: Any
    data: Any
    folder: Path


def trained_classifier(folder: Path) -> Trained:
    """Write the task's tables and train a classifier on them."""
    data = planted_data(write_planted(folder))
    model = small_classifier(data, lambda_importance=0.3, lambda_interaction=0.1)
    text_trainer(max_epochs=8, limit_val_batches=0).fit(model, datamodule=data)
    model.zero_grad(set_to_none=True)
    return Trained(model.eval(), data, folder)


def read_part(folder: Path, part: str) -> list[tuple[str, int]]:
    """Texts and classes of a part, read without the data module."""
    rows = [line.split("\t") for line in (folder / f"{part}.tsv").read_text().splitlines()[1:]]
    return [(text, int(label)) for text, label in rows]
