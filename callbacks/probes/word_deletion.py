"""WordDeletion: the accuracy that a text classifier loses with its most important words (SRS)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import lightning as L
import torch
from torch import Tensor
from torchmetrics import Metric

from callbacks.probes.checks import check_numbers, layers_of
from callbacks.probes.probe import Results
from callbacks.probes.representations import example_activations, texts_of
from callbacks.probes.text_probe import IGNORED, Batch, TextProbe
from callbacks.probes.word_scores import NEED_MASK, PROBABILITY, RANDOM, check_score, score_words
from glassbox.metrics import check_percent, top_words, without_words
from glassbox.protocols import HasRepresentations

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


class Deletion(NamedTuple):
    """Which words of every text are deleted: the floor(percent / 100 · n) with highest scores.

    Attributes:
        score: Name of the score; has no meaning with ``percent`` 0.
        percent: In [0, 100).
        lowest: Delete the words with the lowest scores instead.
        draw: Index of the draw of the score 'random'.
    """

    score: str
    percent: float
    lowest: bool = False
    draw: int = 0


WHOLE = Deletion("", 0.0)


def random_deletions(percent: float, number: int) -> list[Deletion]:
    """``number`` independent deletions of random words."""
    return [Deletion(RANDOM, percent, draw=draw) for draw in range(number)]


class DeletionAccuracies(Metric):
    """Accuracy on whole texts, and after each of several deletions.

    Words are scored in the whole text. The shortened text is classified anew, without gaps: words
    move up. A text that lost all its words is one unknown word. Sums are integers, so that no split
    of the texts into batches or ranks changes a digit.

    Args:
        deletions: To measure; whole texts always are.
        unknown: Token of an emptied text.
        seed: Of random scores.
    """

    full_state_update = False
    is_differentiable = False
    correct: Tensor  # (number of deletions,)
    counted: Tensor

    def __init__(self, deletions: Iterable[Deletion], unknown: int, seed: int = 0) -> None:
        super().__init__()
        self.unknown, self.seed = unknown, seed
        unique = dict.fromkeys([WHOLE, *deletions])  # in the same order on every rank
        self.index = {deletion: index for index, deletion in enumerate(unique)}
        self.add_state("correct", torch.zeros(len(unique), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("counted", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, module: HasRepresentations, batch: Batch, activations: Batch) -> None:
        """Add a batch of texts, with the module's ``representations`` of it.

        Texts with label -100 do not count; logits with a nan are wrong, whatever the label.
        """
        labels = batch["labels"]
        scores: dict[tuple[str, int], Tensor] = {}
        for deletion, index in self.index.items():
            logits = activations["logits"]
            if deletion.percent > 0:
                key = (deletion.score, deletion.draw)
                if key not in scores:
                    name, draw = key
                    scores[key] = score_words(name, batch, activations, module, self.seed, draw)
                logits = module.classify(self._shortened(batch, deletion, scores[key]))
            is_correct = (logits.argmax(dim=-1) == labels) & ~logits.isnan().any(dim=-1)
            self.correct[index] += is_correct.sum()
        self.counted += (labels != IGNORED).sum()

    def _shortened(self, batch: Batch, deletion: Deletion, scores: Tensor) -> Batch:
        words = batch["words"]
        deleted = top_words(scores, words, deletion.percent, deletion.lowest)
        tokens, words, mask = without_words(
            batch["tokens"], words, batch["mask"], deleted, self.unknown
        )
        return {**batch, "tokens": tokens, "words": words, "mask": mask}

    def compute(self) -> Tensor:
        """Accuracy after each deletion, over all ranks, float64; nan if no text was counted."""
        return self.correct.double() / self.counted

    def accuracy(self, deletion: Deletion = WHOLE) -> Tensor:
        """Accuracy after a deletion, (1,)."""
        return self.compute()[[self.index[deletion]]].float()

    def srs(self, deletion: Deletion) -> Tensor:
        """Superposition regularization score: the accuracy that a deletion costs, (1,).

        In [-1, 1], negative where deletion helps. The 18.24 points of the SAFR paper's Table 1 (§4)
        are 0.1824.
        """
        accuracies = self.compute()
        return (accuracies[[self.index[WHOLE]]] - accuracies[[self.index[deletion]]]).float()


class WordDeletion(TextProbe):
    """Accuracy without the ``percent`` % of words that score highest, and its loss (SRS).

    SAFR paper §4, "Evaluation", Table 1 and Figure 3. Every validation measures ``srs`` and
    ``accuracy_deleted``, with one more forward pass on the shortened texts. The test set also has
    the controls (deletion of as many random words, mean and standard deviation over the draws, and
    of the lowest words), ``srs_<score>`` for the compared scores, and the accuracy at each of
    ``deletion_percents`` for the curve. All are fractions, identical for any number of ranks.

    Args:
        score: What decides which words are deleted: a layer's name, for the words' capacity there,
            or one of vmask_probability, received_attention, gradient_x_input, random
            (``callbacks/probes/word_scores.py``).
        percent: Percentage of a text's words; floor(percent / 100 · n) of n words are deleted.
        scores: Compared on the test set; null takes nine, without the two that need a word mask if
            there is none. An empty list compares none.
        num_random_draws: Random deletions, for each percentage.
        deletion_percents: Of the curve; null takes 0, 10, ..., 90, and an empty list draws none.
        max_sweep_texts: Compare scores and measure the curve on the first batches of the test set
            that have at least this many texts, over all ranks; null takes all.
        every_n_epochs: Measure on the validation set every n epochs.
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
        self.num_random_draws, self.max_sweep_texts = num_random_draws, max_sweep_texts
        self.seed = seed
        self.deletion_percents = sorted({float(value) for value in deletion_percents})
        self._compared: list[str] = []
        self._score_title = score  # in figures
        self._swept_texts = 0
        self._accuracies: DeletionAccuracies | None = None
        self._sweep: DeletionAccuracies | None = None  # the same object if all texts are swept

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        activations = example_activations(trainer, pl_module, self)
        check_score("WordDeletion", "score", self.score, activations)
        compared = list(COMPARED) if self.scores is None else self.scores
        if self.scores is None and PROBABILITY not in activations:
            compared = [name for name in compared if name not in NEED_MASK]
        for name in compared:
            check_score("WordDeletion", "one of scores", name, activations)
        # Random words are measured in any case, over several draws.
        self._compared = [name for name in dict.fromkeys(compared) if name != RANDOM]
        is_layer = self.score in layers_of(activations)
        spelled = self.score.replace("_", " ")
        self._score_title = f"capacity at {self.score}" if is_layer else spelled

    # ---- a pass --------------------------------------------------------------------------------

    def reset(self, trainer: L.Trainer, module: HasRepresentations) -> None:
        unknown = texts_of(trainer, self).unknown_token
        measured, swept = [Deletion(self.score, self.percent)], []
        if self.stage == "test":
            self.arrays = {}
            measured += [Deletion(self.score, self.percent, lowest=True)]
            measured += random_deletions(self.percent, self.num_random_draws)
            swept += [Deletion(name, self.percent) for name in self._compared]
            for percent in self.deletion_percents:
                swept += [d for deletions in self._curves(percent).values() for d in deletions]
        self._swept_texts, self._sweep = 0, None
        if swept and self.max_sweep_texts is not None:
            self._sweep = DeletionAccuracies(swept, unknown, self.seed).to(module.device)
        else:
            measured += swept
        self._accuracies = DeletionAccuracies(measured, unknown, self.seed).to(module.device)
        if swept and self.max_sweep_texts is None:
            self._sweep = self._accuracies

    def update(
        self, trainer: L.Trainer, module: HasRepresentations, batch: Batch, activations: Batch
    ) -> None:
        assert self._accuracies is not None
        self._accuracies.update(module, batch, activations)
        if self._sweep is None:
            return
        # Counts the global batch, so that all ranks stop at the same one.
        if self.max_sweep_texts is None or self._swept_texts < self.max_sweep_texts:
            self._swept_texts += int(batch["global_size"][0])
            if self._sweep is not self._accuracies:
                self._sweep.update(module, batch, activations)

    def compute(self, trainer: L.Trainer, module: HasRepresentations) -> Results:
        accuracies, highest = self._accuracies, Deletion(self.score, self.percent)
        assert accuracies is not None
        values = {"srs": accuracies.srs(highest), "accuracy_deleted": accuracies.accuracy(highest)}
        self.summary_metrics = [f"val/{self.name}/{key}" for key in values]
        if self.stage == "test":
            values |= self._controls(accuracies)
            compared = [f"srs_{name}" for name in self._compared]
            keys = [*TABLE_1, "srs_random", "srs_lowest", *compared]
            self.summary_metrics = [f"test/{self.name}/{key}" for key in keys]
        if self._sweep is not None:
            values["swept_texts"] = torch.tensor([float(self._swept_texts)])
            for name in self._compared:
                values[f"srs_{name}"] = self._sweep.srs(Deletion(name, self.percent))
            if self.deletion_percents:
                self.arrays = self._curve_arrays(self._sweep)
        self._accuracies = self._sweep = None
        return values

    def _controls(self, accuracies: DeletionAccuracies) -> dict[str, Tensor]:
        deletions = random_deletions(self.percent, self.num_random_draws)
        draws = torch.cat([accuracies.accuracy(deletion) for deletion in deletions])
        mean, whole = draws.mean().reshape(1), accuracies.accuracy(WHOLE)
        std = draws.std().reshape(1) if len(draws) > 1 else torch.full_like(mean, torch.nan)
        return {
            "accuracy": whole,
            "accuracy_random": mean,
            "accuracy_random_std": std,
            "srs_random": whole - mean,
            "srs_above_random": mean - accuracies.accuracy(Deletion(self.score, self.percent)),
            "srs_lowest": accuracies.srs(Deletion(self.score, self.percent, lowest=True)),
        }

    # ---- the curve -----------------------------------------------------------------------------

    def _curves(self, percent: float) -> dict[str, list[Deletion]]:
        """The deletions at one percentage, by the curves' names."""
        if percent == 0:
            draws = [WHOLE] * self.num_random_draws
            return {"highest": [WHOLE], "lowest": [WHOLE], "random": draws}
        return {
            "highest": [Deletion(self.score, percent)],
            "lowest": [Deletion(self.score, percent, lowest=True)],
            "random": random_deletions(percent, self.num_random_draws),
        }

    def _curve_arrays(self, accuracies: DeletionAccuracies) -> dict[str, Tensor]:
        """``percents`` and ``accuracy_<curve>``, (1, K); of random words (1, draws, K)."""
        arrays = {"percents": torch.tensor([self.deletion_percents], dtype=torch.float64)}
        for name in CURVES:
            at_each = [
                torch.cat([accuracies.accuracy(d) for d in self._curves(percent)[name]])
                for percent in self.deletion_percents
            ]
            values = torch.stack(at_each, dim=-1)  # (draws, K)
            arrays[f"accuracy_{name}"] = values[None] if name == "random" else values
        return arrays

    def figures(self, trainer: L.Trainer, module: HasRepresentations) -> Mapping[str, Figure]:
        if not self.arrays:
            return {}
        from glassbox.plots import DeletionCurve, deletion_curve

        arrays = {name: values[0].cpu().numpy() for name, values in self.arrays.items()}
        curve = DeletionCurve(*(arrays[f"accuracy_{name}"] for name in CURVES))
        is_marked = self.deletion_percents[0] == 0 and self.percent in self.deletion_percents
        figure = deletion_curve(
            arrays["percents"],
            {type(module).__name__: curve},
            marked_percent=self.percent if is_marked else None,
            score=self._score_title,
            title="accuracy on the test set without some of its words",
        )
        return {"deletion_curve": figure}
