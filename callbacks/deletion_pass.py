"""DeletionPass: a data set of texts classified whole and with words deleted, counted exactly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from callbacks.probes.text_metrics import DeletionAccuracy
from callbacks.word_scores import RANDOM, score_words
from glassbox.metrics import top_words, without_words

Batch = dict[str, Tensor]


class Deletion(NamedTuple):
    """Which words of every text are deleted: the floor(percent / 100 · n) highest of a score.

    Attributes:
        score: Name of the score; with ``percent`` 0 it has no meaning.
        percent: At least 0 and below 100.
        lowest: Delete as many with the lowest scores instead.
        draw: Which draw of the score 'random'.
    """

    score: str
    percent: float
    lowest: bool = False
    draw: int = 0


WHOLE = Deletion("", 0.0)


class DeletionPass:
    """Counts how many texts are classified rightly, whole and after each of several deletions.

    Scores are those of the whole text, in evaluation mode. The shortened text is classified anew:
    gaps are closed, positions are those of the words that are left, and a text that lost all its
    words is one unknown word.

    Args:
        deletions: Whose accuracies are wanted; that of the whole texts is always there.
        unknown: Token of an emptied text.
        device: Where the module is.
        seed: Of random scores.
    """

    def __init__(
        self, deletions: Iterable[Deletion], unknown: int, device: torch.device, seed: int = 0
    ) -> None:
        self.unknown, self.seed = unknown, seed
        wanted = dict.fromkeys([WHOLE, *deletions])  # each once, in this order on every rank
        self._right = {deletion: DeletionAccuracy().to(device) for deletion in wanted}

    def update(self, module: Any, batch: Batch, found: Batch) -> None:
        """Take a batch of texts and the module's ``representations`` of it."""
        labels, whole = batch["labels"], found["logits"]
        scores: dict[tuple[str, int], Tensor] = {}
        for deletion, right in self._right.items():
            logits = whole
            if deletion.percent > 0:
                key = (deletion.score, deletion.draw)
                if key not in scores:
                    name, draw = key
                    scores[key] = score_words(name, batch, found, module, self.seed, draw)
                logits = module.classify(self._shortened(batch, deletion, scores[key]))
            right.update(logits, labels)

    def _shortened(self, batch: Batch, deletion: Deletion, scores: Tensor) -> Batch:
        words = batch["words"]
        deleted = top_words(scores, words, deletion.percent, deletion.lowest)
        tokens, words, mask = without_words(
            batch["tokens"], words, batch["mask"], deleted, self.unknown
        )
        return {**batch, "tokens": tokens, "words": words, "mask": mask}

    def accuracy(self, deletion: Deletion = WHOLE) -> Tensor:
        """Accuracy after a deletion, (1,), over all ranks."""
        return self._accuracy(deletion).float()

    def score(self, deletion: Deletion) -> Tensor:
        """Superposition regularization score: the accuracy that a deletion costs, (1,).

        In [-1, 1], over all ranks; 0.1824 are the 18.24 points of the SAFR paper's Table 1 (§4).
        Negative where deletion helps.
        """
        return (self._accuracy(WHOLE) - self._accuracy(deletion)).float()

    def _accuracy(self, deletion: Deletion) -> Tensor:
        value: Tensor = self._right[deletion].compute()
        return value.reshape(1)


def random_draws(percent: float, draws: int) -> list[Deletion]:
    """So many deletions of random words."""
    return [Deletion(RANDOM, percent, draw=draw) for draw in range(draws)]
