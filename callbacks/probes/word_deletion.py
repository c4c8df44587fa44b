"""WordDeletion: what a text classifier loses with the words that matter most (SRS)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning as L
import torch
from torch import Tensor

from callbacks.probes.representations import dummy_activations, layers_of
from callbacks.probes.text_metrics import DeletionAccuracy
from callbacks.probes.text_probe import Batch, TextProbe
from callbacks.probes.word_pair_probe import check_numbers
from callbacks.probes.word_scores import NEED_MASK, PROBABILITY, RANDOM, check_score, score_words
from glassbox.metrics import check_percent, top_words, without_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


COMPARED = (
    "embedding",
    "vmask",
    "attention",
    "ffn1_before_relu",
    "ffn1",
    "ffn2",
    "vmask_probability",
    "received_attention",
    "gradient_x_input",
)
CURVES = ("highest", "lowest", "random")
TABLE_1 = ("accuracy", "accuracy_random", "accuracy_deleted", "srs")


class WordDeletion(TextProbe):
    """Accuracy without the ``percent`` % of words that score highest, and SRS, what that costs.

    SAFR paper §4, "Evaluation", Table 1 and Figure 3. Every validation measures ``srs`` and
    ``accuracy_deleted``, with one more forward pass on the shortened texts. The test set also gets
    the controls: as many random words (mean and standard deviation over the draws) and as many of
    the lowest words; ``srs_<score>`` for the compared scores; and the accuracies at each of
    ``deletion_percents``, for the curve. All are shares from 0 to 1, the same on any number of ranks.

    Args:
        score: What decides which words are deleted: a layer's name, for the words' capacity there,
            or one of vmask_probability, received_attention, gradient_x_input, random
            (``callbacks/word_scores.py``).
        percent: Share of a text's words, in percent; of n words floor(percent / 100 · n) go.
        scores: Compared on the test set; null takes nine, of which two need a word mask and are
            left out without one. An empty list compares none.
        num_random_draws: Random deletions, for each percentage.
        deletion_percents: Of the curve; null takes 0, 10, ..., 90, and an empty list draws none.
        max_sweep_texts: Compare scores and sweep over ``deletion_percents`` on the first batches of the test
            set, until they hold at least as many texts, of all ranks together; null takes all.
        every_n_epochs: Measure on the validation set after every so many epochs.
        seed: Of the random words.

    Raises:
        ValueError: A number is out of range.
    """

    name = "deletion"
    not_logged = frozenset({"swept_texts"})

    def __init__(
        self,
        score: str = "ffn1",
        percent: float = 30.0,
        scores: list[str] | None = None,
        num_random_draws: int = 5,
        deletion_percents: list[float] | None = None,
        max_sweep_texts: int | None = None,
        every_n_epochs: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(every_n_epochs=every_n_epochs)
        check_numbers(
            "WordDeletion", seed, num_random_draws=num_random_draws, max_sweep_texts=max_sweep_texts
        )
        if not 0 < percent < 100:
            raise ValueError(
                f"WordDeletion: percent is {percent}; it must be above 0 (no word) and below 100 "
                f"(every word)"
            )
        if deletion_percents is None:
            deletion_percents = [10.0 * tenth for tenth in range(10)]
        for value in deletion_percents:
            check_percent(value, "WordDeletion: one of deletion_percents")
        self.score, self.percent, self.scores = score, float(percent), scores
        self.num_random_draws, self.max_sweep_texts, self.seed = (
            num_random_draws,
            max_sweep_texts,
            seed,
        )
        self.deletion_percents = sorted({float(value) for value in deletion_percents})
        self._compared: list[str] = []
        self._score_name = score  # as figures call it
        self._swept_texts = 0
        self._pass: DeletionPass | None = None
        self._sweep: DeletionPass | None = None  # the same object if all texts are swept

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        activations = dummy_activations(trainer, pl_module, "WordDeletion")
        check_score("WordDeletion", "score", self.score, activations)
        compared = list(COMPARED) if self.scores is None else self.scores
        if self.scores is None and PROBABILITY not in activations:
            compared = [name for name in compared if name not in NEED_MASK]
        for name in compared:
            check_score("WordDeletion", "one of scores", name, activations)
        # Random words are measured in any case, over several draws.
        self._compared = [name for name in dict.fromkeys(compared) if name != RANDOM]
        is_layer = self.score in layers_of(activations)
        self._score_name = f"capacity at {self.score}" if is_layer else self.score.replace("_", " ")

    # ---- a pass --------------------------------------------------------------------------------

    def begin(self, trainer: L.Trainer, module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        at = (data.unknown_token, module.device, self.seed)
        measured, swept = [Deletion(self.score, self.percent)], []
        if self.stage == "test":
            self.arrays = {}
            measured += [Deletion(self.score, self.percent, lowest=True)]
            measured += random_draws(self.percent, self.num_random_draws)
            swept += [Deletion(name, self.percent) for name in self._compared]
            for percent in self.deletion_percents:
                swept += [d for deletions in self._curves(percent).values() for d in deletions]
        self._swept_texts = 0
        self._sweep = None
        if swept and self.max_sweep_texts is not None:
            self._sweep = DeletionPass(swept, *at)
            self._pass = DeletionPass(measured, *at)
        else:
            self._pass = DeletionPass([*measured, *swept], *at)
            self._sweep = self._pass if swept else None

    def update(self, trainer: L.Trainer, module: Any, batch: Batch, found: Batch) -> None:
        assert self._pass is not None
        self._pass.update(module, batch, found)
        if self._sweep is None:
            return
        # Numbers of the global batch, so that all ranks stop at the same one.
        if self.max_sweep_texts is None or self._swept_texts < self.max_sweep_texts:
            self._swept_texts += int(batch["global_size"][0])
            if self._sweep is not self._pass:
                self._sweep.update(module, batch, found)

    def finish(self, trainer: L.Trainer, module: Any) -> Mapping[str, Tensor | list[str]]:
        assert self._pass is not None
        done, highest = self._pass, Deletion(self.score, self.percent)
        values = {"srs": done.score(highest), "accuracy_deleted": done.accuracy(highest)}
        self.summary_metrics = [f"val/{self.name}/{key}" for key in values]
        if self.stage == "test":
            values.update(self._controls(done))
            compared = [f"srs_{name}" for name in self._compared]
            keys = [*TABLE_1, "srs_random", "srs_lowest", *compared]
            self.summary_metrics = [f"test/{self.name}/{key}" for key in keys]
        if self._sweep is not None:
            values["swept_texts"] = torch.tensor([float(self._swept_texts)])
            for name in self._compared:
                values[f"srs_{name}"] = self._sweep.score(Deletion(name, self.percent))
            if self.deletion_percents:
                self.arrays = self._curve_arrays(self._sweep)
        self._pass = self._sweep = None
        return values

    def _controls(self, done: DeletionPass) -> dict[str, Tensor]:
        draws = torch.cat(
            [done.accuracy(d) for d in random_draws(self.percent, self.num_random_draws)]
        )
        mean, whole = draws.mean().reshape(1), done.accuracy(WHOLE)
        spread = (
            draws.std().reshape(1)
            if self.num_random_draws > 1
            else torch.full_like(mean, torch.nan)
        )
        return {
            "accuracy": whole,
            "accuracy_random": mean,
            "accuracy_random_std": spread,
            "srs_random": whole - mean,
            "srs_above_random": mean - done.accuracy(Deletion(self.score, self.percent)),
            "srs_lowest": done.score(Deletion(self.score, self.percent, lowest=True)),
        }

    # ---- the curve -----------------------------------------------------------------------------

    def _curves(self, percent: float) -> dict[str, list[Deletion]]:
        """What is deleted at one place of the curves, by the curves' names."""
        if percent == 0:
            return {
                "highest": [WHOLE],
                "lowest": [WHOLE],
                "random": [WHOLE] * self.num_random_draws,
            }
        return {
            "highest": [Deletion(self.score, percent)],
            "lowest": [Deletion(self.score, percent, lowest=True)],
            "random": random_draws(percent, self.num_random_draws),
        }

    def _curve_arrays(self, done: DeletionPass) -> dict[str, Tensor]:
        """``deletion_percents`` and ``accuracy_<curve>`` (1, K); the random draws are (1, draws, K)."""
        arrays = {"percents": torch.tensor([self.deletion_percents], dtype=torch.float64)}
        for name in CURVES:
            at_each = [
                torch.cat([done.accuracy(deletion) for deletion in self._curves(percent)[name]])
                for percent in self.deletion_percents
            ]
            values = torch.stack(at_each, dim=-1)  # (draws, K)
            arrays[f"accuracy_{name}"] = values[None] if name == "random" else values
        return arrays

    def figures(self, trainer: L.Trainer, module: L.LightningModule) -> Mapping[str, Figure]:
        if not self.arrays:
            return {}
        from glassbox.plots import DeletionCurve, deletion_curve

        found = {name: values[0].cpu().numpy() for name, values in self.arrays.items()}
        curve = DeletionCurve(*(found[f"accuracy_{name}"] for name in CURVES))
        marked = self.deletion_percents[0] == 0 and self.percent in self.deletion_percents
        figure = deletion_curve(
            found["percents"],
            {type(module).__name__: curve},
            marked_percent=self.percent if marked else None,
            score=self._score_name,
            title="accuracy on the test set without some of its words",
        )
        return {"deletion_curve": figure}
