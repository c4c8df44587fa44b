"""WordPairProbe: the base of probes that measure pairs of words in one relation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import lightning as L
import torch
from torch import Tensor

from callbacks.probes.checks import check_numbers, datamodule_of, incompatible
from callbacks.probes.probe import Probe
from callbacks.probes.word_pairs import WordPairs, encode_word_pairs, load_word_pairs
from glassbox.metrics import draw_quadruples, draw_unrelated
from glassbox.protocols import EncodesTexts, EncodesWords, HasEmbedding


class WordPairProbe(Probe[HasEmbedding]):
    """Base class: reads word pairs when a run begins, and draws the same quadruples each time.

    Args:
        every_n_epochs: As in ``Probe``.
        figures_every_n_epochs: As in ``Probe``.
        words: Folder of JSON files; null takes the built-in ones.
        tasks: Names of the files; null takes all.
        num_quadruples: Drawn per task.
        leading_space: Encode " word" instead of "word".
        seed: Of the quadruples.

    Raises:
        ValueError: A number is out of range, or the word pairs are not readable.
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
        if not isinstance(pl_module, HasEmbedding):
            raise incompatible(self, "a module with an embedding", pl_module, "a LanguageModel")
        data = datamodule_of(trainer)
        # Not labeled texts: their encode returns a batch, and most words are unknown to them.
        if not isinstance(data, EncodesWords) or isinstance(data, EncodesTexts):
            needs = "a data module that encodes words as a language model's tokens"
            raise incompatible(self, needs, data, "OpenWebText")
        vocab_size = pl_module.embedding_matrix().shape[1]
        self.pairs = encode_word_pairs(self.words, data.encode, vocab_size, self.leading_space)

    def quadruples(self, task: str) -> Tensor:
        """Indices of the two pairs of each quadruple of a task, (Q, 2)."""
        return draw_quadruples(len(self.pairs[task].words), self.num_quadruples, self.seed)

    def unrelated(self, task: str) -> Tensor:
        """Other pairs of the task, whose second words serve as unrelated ones, (Q, 2)."""
        return draw_unrelated(self.quadruples(task), len(self.pairs[task].words), self.seed)


def median_over_tasks(values: Mapping[str, Tensor], key: str) -> Tensor:
    """Median of the values named ``<task>/<key>``, (S,), without tasks whose value is nan."""
    of_tasks = [value for name, value in values.items() if name.rpartition("/")[2] == key]
    return torch.stack(of_tasks).nanquantile(0.5, dim=0)
