"""Analogies: whether b − a + c leads to d, in the full space of the embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import lightning as L
from torch import Tensor

from callbacks.probes.word_pair_probe import WordPairProbe, over_tasks
from glassbox.metrics import analogy_ranks, analogy_scores


class Analogies(WordPairProbe):
    """Rank of the right word among all words: jumped − jump + win is to be near won.

    Of two pairs (i, j) and (m, n) of one relation, how many words are closer to E_j − E_i + E_m
    than n is; the three given words are no candidates. Logged are each task's median rank
    (``<task>/median_rank``), the shares that come first and among the first ten (``<task>/first``,
    ``<task>/top_10``), the median rank over that of unrelated answers, second words of other pairs
    (``<task>/relative``; 1 means that the relation is not seen), and the medians of these over the
    tasks. Unlike the parallelogram loss, a
    rank is about all dimensions and tells words of the vocabulary apart. Quadruples without a
    question (the same token given and asked for) are left out; the share of the others,
    ``<task>/asked``, is in ``results.json``.

    Args:
        every_n_epochs: Measure after every so many epochs (validations, where these are counted
            in steps), and after the last.
        words: Folder with a JSON file for each task, a list of {"input": ..., "output": ...}; null
            takes the built-in ones: present to past, singular to plural, country to capital.
        tasks: Names of the files to take; null takes all.
        num_quadruples: Drawn for each task, with replacement. Each is compared with all words: a
            thousand take 4 s on a CPU core for 50,257 words of 768 features.
        similarity: What close means: euclidean distance, or cosine.
        leading_space: Encode " word", as words within a text are, instead of "word".
        seed: Of the quadruples.

    Raises:
        ValueError: A number is out of range, or the word pairs cannot be read.
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

    def measure(self, trainer: L.Trainer, module: L.LightningModule) -> Mapping[str, Tensor]:
        embedding = module.embedding_matrix()  # type: ignore[operator]
        values: dict[str, Tensor] = {}
        for task, pairs in self.pairs.items():
            drawn = self.quadruples(task)
            ranks = analogy_ranks(embedding, pairs.tokens, drawn, self.similarity)
            unrelated = analogy_ranks(
                embedding, pairs.tokens, drawn, self.similarity, self.unrelated(task)
            )
            scores = analogy_scores(ranks, unrelated)
            values.update({f"{task}/{key}": value for key, value in scores._asdict().items()})
            values[f"{task}/asked"] = (~ranks.isnan()).float().mean(-1)
        for key in ("median_rank", "first", "top_10", "relative"):
            values[key] = over_tasks(values, key)
        self.summary_metrics = [
            f"val/{self.name}/{key}" for key in ("median_rank", "top_10", "relative")
        ]
        return values
