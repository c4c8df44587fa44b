"""Analogies: whether b − a + c leads to d, in the full space of the embedding."""

from __future__ import annotations

from typing import Literal

import lightning as L
from torch import Tensor

from callbacks.probes.word_pair_probe import WordPairProbe, median_over_tasks
from glassbox.metrics import analogy_ranks, analogy_scores
from glassbox.protocols import HasEmbedding

SUMMARY = ("median_rank", "first", "top_10", "relative")


class Analogies(WordPairProbe):
    """Rank of the right word among all words: jumped − jump + win should be near won.

    For two pairs (i, j) and (m, n) of one relation, the rank of n is one plus the number of words
    that are closer to E_j − E_i + E_m; the three given words are excluded. Logged per task, and as
    medians over the tasks:

    - ``<task>/median_rank``.
    - ``<task>/first`` and ``<task>/top_10``: fraction of ranks of 1, and of at most 10.
    - ``<task>/relative``: median rank over that of unrelated answers (second words of other pairs);
      1 if the model does not represent the relation.

    Unlike the parallelogram loss, a rank depends on all dimensions and on the other words of the
    vocabulary. Quadruples in which the answer is a given token are left out; the fraction of the
    others, ``<task>/asked``, is in ``results.json``.

    Args:
        every_n_epochs: Measure every n epochs (or validations, where these are scheduled by
            batches), and after the last.
        words: Folder with a JSON file per task, a list of {"input": ..., "output": ...}; null
            takes the built-in ones: present to past, singular to plural, country to capital.
        tasks: Names of the files to take; null takes all.
        num_quadruples: Drawn per task, with replacement. Each is compared with all words: a
            thousand take 4 s on a CPU core for 50,257 words of 768 features.
        similarity: euclidean distance, or cosine.
        leading_space: Encode " word", as words within a text are, instead of "word".
        seed: Of the quadruples.

    Raises:
        ValueError: A number is out of range, or the word pairs are not readable.
    """

    name = "analogies"
    not_logged = frozenset({"asked"})

    def __init__(
        self,
        every_n_epochs: int = 1,
        words: str | None = None,
        tasks: list[str] | None = None,
        num_quadruples: int = 1000,
        similarity: Literal["euclidean", "cosine"] = "euclidean",
        leading_space: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(every_n_epochs, None, words, tasks, num_quadruples, leading_space, seed)
        if similarity not in ("euclidean", "cosine"):
            raise ValueError(f"Analogies: similarity is {similarity!r}; choose euclidean or cosine")
        self.similarity = similarity

    def measure(self, trainer: L.Trainer, module: HasEmbedding) -> dict[str, Tensor]:
        embedding = module.embedding_matrix()
        values: dict[str, Tensor] = {}
        for task, pairs in self.pairs.items():
            drawn = self.quadruples(task)
            ranks, unrelated = (
                analogy_ranks(embedding, pairs.tokens, drawn, self.similarity, partners)
                for partners in (None, self.unrelated(task))
            )
            scores = analogy_scores(ranks, unrelated)
            values |= {f"{task}/{key}": value for key, value in scores._asdict().items()}
            values[f"{task}/asked"] = (~ranks.isnan()).float().mean(-1)
        for key in SUMMARY:
            values[key] = median_over_tasks(values, key)
        self.summary_metrics = [
            f"val/{self.name}/{key}" for key in ("median_rank", "top_10", "relative")
        ]
        return values
