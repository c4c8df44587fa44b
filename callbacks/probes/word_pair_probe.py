"""WordPairProbe: what the probes have in common that read word pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor

from callbacks.probes.probe import Probe
from callbacks.probes.word_pairs import WordPairs, encode_word_pairs, load_word_pairs
from glassbox.metrics import draw_quadruples, draw_unrelated


class WordPairProbe(Probe):
    """Reads word pairs when a run begins, and draws quadruples of them, always the same ones.

    Args:
        every_n_epochs: As of ``Probe``.
        figures_every_n_epochs: As of ``Probe``.
        words: Folder of JSON files; null takes the built-in ones.
        tasks: Names of the files; null takes all.
        num_quadruples: Drawn for each task.
        leading_space: Encode " word" instead of "word".
        seed: Of the draw.

    Raises:
        ValueError: A number is out of range, or the word pairs cannot be read.
    """

    def __init__(
        self,
        every_n_epochs: int,
        figures_every_n_epochs: int | None,
        words: str | None,
        tasks: Sequence[str] | None,
        num_quadruples: int,
        leading_space: bool,
        seed: int,
    ) -> None:
        super().__init__(every_n_epochs, figures_every_n_epochs)
        check_numbers(type(self).__name__, seed, num_quadruples=num_quadruples)
        self.num_quadruples, self.leading_space, self.seed = num_quadruples, leading_space, seed
        self.words = load_word_pairs(words, tasks)
        self.pairs: dict[str, WordPairs] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        data: Any = getattr(trainer, "datamodule", None)
        # That of labeled texts encodes them as a batch, and takes most words for unknown ones.
        if not hasattr(data, "encode") or hasattr(data, "unknown_token"):
            raise ValueError(
                f"{type(self).__name__} needs a data module that turns words into tokens of a "
                f"language model, such as OpenWebText; remove the probe from "
                f"trainer.callbacks, or use one"
            )
        vocab_size = pl_module.embedding_matrix().shape[1]  # type: ignore[operator]
        self.pairs = encode_word_pairs(self.words, data.encode, vocab_size, self.leading_space)

    def quadruples(self, task: str) -> Tensor:
        """Which two pairs of the task each quadruple is made of, (Q, 2)."""
        return draw_quadruples(len(self.pairs[task].words), self.num_quadruples, self.seed)

    def unrelated(self, task: str) -> Tensor:
        """Other pairs of the task, whose second words stand in for unrelated ones, (Q, 2)."""
        return draw_unrelated(self.quadruples(task), len(self.pairs[task].words), self.seed)


def check_numbers(owner: str, seed: int = 0, **numbers: int | None) -> None:
    """Refuse numbers below 1 or above a million, and a seed that torch does not take.

    (Above 2^24 torch computes no quantiles; None passes.)

    Raises:
        ValueError: Names the first of them.
    """
    for name, value in numbers.items():
        if value is not None and not 1 <= value <= 1_000_000:
            raise ValueError(f"{owner}: {name} is {value}; it must be from 1 to 1,000,000")
    if not 0 <= seed < 2**62:
        raise ValueError(f"{owner}: seed is {seed}; it must be at least 0 and below 2^62")


def over_tasks(values: Mapping[str, Tensor], key: str) -> Tensor:
    """Median over the tasks of what is named ``<task>/<key>``, (S,); tasks without one left out."""
    found = [value for name, value in values.items() if name.rpartition("/")[2] == key]
    return torch.stack(found).nanquantile(0.5, dim=0)
