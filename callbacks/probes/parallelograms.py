"""Parallelograms: whether pairs of words in one relation form parallelograms in the embedding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import lightning as L
from torch import Tensor

from callbacks.probes.checks import check_components, check_numbers, datamodule_of
from callbacks.probes.titles import loss_label, projection_title
from callbacks.probes.word_pair_probe import WordPairProbe, median_over_tasks
from callbacks.probes.word_pairs import WordPairs, choose_figure_task, part_labels
from callbacks.trainer_state import progress_text
from glassbox.metrics import (
    Projection,
    draw_quadruples,
    draw_unrelated,
    parallelogram_losses,
    parallelogram_scores,
    project_vocabulary,
    ranked_quadruples,
)
from glassbox.protocols import DecodesWords, HasEmbedding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from glassbox.plots import RankedParallelograms

RANKS = (0, 1, 2, 10, 100, 500)
QUANTILES = (5, 25, 75, 95)  # percent
NOTE = (
    "Ranks among quadruples of four different tokens, then the loss. A word's embedding is that of "
    "its last token, which stands behind the dot. Colored: from the first word of a pair to the "
    "second."
)
SUMMARY = ("median", "below_1", "relative")


class Measured(NamedTuple):
    """A model's vocabulary in its principal components, and the losses of every task."""

    space: Projection
    losses: dict[str, Tensor]  # (S, Q)
    unrelated: dict[str, Tensor]  # (S, Q), the same first words with second words of other pairs


class Parallelograms(WordPairProbe):
    """How far word pairs are from parallelograms, in the first principal components of all words.

    Two pairs (i, j) and (m, n) of one relation, jump-jumped and win-won, have the loss
    ‖E_i + E_n − E_j − E_m‖/σ, where σ is the root mean square length of all words (harmonic-loss
    paper, equation 5). Logged per task, and as medians over the tasks:

    - ``<task>/median``, and ``<task>/below_1``, the fraction of losses below 1.
    - ``<task>/relative``: median loss over that of unrelated words (the same first words with
      second words of other pairs); 1 if the model does not represent the relation.
    - ``explained_variance``: fraction of the variance that the components hold.

    Losses of two models are comparable only together with the last two: where one direction
    dominates, a loss measures positions along it. ``results.json`` also has quantiles, and
    ``<task>/zeros``, the fraction of losses that are exactly 0 (pairs whose words end in the same
    tokens).

    Args:
        every_n_epochs: Measure every n epochs (or validations, where these are scheduled by
            batches), and after the last.
        figures_every_n_epochs: Draw every n epochs, and after the last; null draws after the last
            only.
        words: Folder with a JSON file per task, a list of {"input": ..., "output": ...}; null
            takes the built-in ones: present to past, singular to plural, country to capital.
        tasks: Names of the files to take; null takes all.
        num_quadruples: Drawn per task, with replacement, the same ones at every step.
        components: Principal components that words are projected on; null takes the whole space.
        squared: Square the loss, as the authors' code does and their equation does not.
        leading_space: Encode " word", as words within a text are, instead of "word".
        seed: Of the quadruples.
        figure_task: Task whose parallelograms are drawn; null takes present to past, or else the
            first. Drawn for two and more components, if the data module has ``decode``.

    Raises:
        ValueError: A number is out of range, or the word pairs are not readable.
    """

    name = "parallelograms"
    not_logged = frozenset({"zeros", *(f"quantile_{percent}" for percent in QUANTILES)})

    def __init__(
        self,
        every_n_epochs: int = 1,
        figures_every_n_epochs: int | None = None,
        words: str | None = None,
        tasks: list[str] | None = None,
        num_quadruples: int = 10000,
        components: int | None = 2,
        squared: bool = False,
        leading_space: bool = False,
        seed: int = 0,
        figure_task: str | None = None,
    ) -> None:
        super().__init__(
            every_n_epochs,
            figures_every_n_epochs,
            words,
            tasks,
            num_quadruples,
            leading_space,
            seed,
        )
        check_numbers("Parallelograms", components=components)
        self.components, self.squared = components, squared
        self.figure_task = choose_figure_task(list(self.words), figure_task)
        self._measured: Measured | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        assert isinstance(pl_module, HasEmbedding)
        check_components(self.components, pl_module.embedding_matrix().shape[-1])

    def measure(self, trainer: L.Trainer, module: HasEmbedding) -> dict[str, Tensor]:
        self._measured = measure_parallelograms(
            module.embedding_matrix(),
            self.pairs,
            self.num_quadruples,
            self.seed,
            self.components,
            self.squared,
        )
        values: dict[str, Tensor] = {}
        for task, losses in self._measured.losses.items():
            scores = parallelogram_scores(losses, self._measured.unrelated[task])
            values |= {f"{task}/{key}": value for key, value in scores._asdict().items()}
            for percent in QUANTILES:
                values[f"{task}/quantile_{percent}"] = losses.quantile(percent / 100, dim=-1)
        values |= {key: median_over_tasks(values, key) for key in SUMMARY}
        values["explained_variance"] = self._measured.space.fractions.sum(-1)
        self.summary_metrics = [
            f"val/{self.name}/{key}" for key in (*SUMMARY, "explained_variance")
        ]
        return values

    def figures(self, trainer: L.Trainer, module: HasEmbedding) -> Mapping[str, Figure]:
        from glassbox.plots import parallelogram_distributions, ranked_parallelograms

        assert self._measured is not None
        space, all_losses, _ = self._measured
        model = loss_label(module)
        first = {task: losses[0].cpu().numpy() for task, losses in all_losses.items()}
        title = f"{projection_title(model, space, self.components)}{progress_text(trainer)}"
        figures = {
            "parallelogram_losses": parallelogram_distributions(
                {model: first}, title=title, squared=self.squared
            )
        }
        data = datamodule_of(trainer)
        if self.components is None or self.components < 2 or not isinstance(data, DecodesWords):
            return figures
        task = self.figure_task
        ranked = rank_parallelograms(
            space, all_losses[task], self.pairs[task], self.quadruples(task), data.decode
        )
        if ranked is not None:
            figures["parallelograms"] = ranked_parallelograms(
                {model: ranked}, title=f"{task.replace('_', ' ')} · {title}", note=NOTE
            )
        return figures


def measure_parallelograms(
    embedding: Tensor,
    pairs: Mapping[str, WordPairs],
    num_quadruples: int = 10000,
    seed: int = 0,
    components: int | None = 2,
    squared: bool = False,
) -> Measured:
    """Parallelogram losses of every task, in the first principal components of all words.

    Args:
        embedding: (S, V, E), without the rows that pad the vocabulary.
        pairs: By task.
        num_quadruples: Drawn per task.
        seed: Of the quadruples.
        components: Number of principal components; None for the whole space.
        squared: Square the losses.
    """
    measured = Measured(project_vocabulary(embedding, components), {}, {})
    for task, (words, tokens) in pairs.items():
        drawn = draw_quadruples(len(words), num_quadruples, seed)
        others = draw_unrelated(drawn, len(words), seed)
        for losses, partners in ((measured.losses, None), (measured.unrelated, others)):
            losses[task] = parallelogram_losses(
                measured.space.coordinates, measured.space.scale, tokens, drawn, squared, partners
            )
    return measured


def rank_parallelograms(
    space: Projection,
    losses: Tensor,
    pairs: WordPairs,
    drawn: Tensor,
    decode: Callable[[list[int]], str],
) -> RankedParallelograms | None:
    """The parallelograms at ``RANKS`` of the loss, for a figure of the first of S models.

    Args:
        space: Two or more principal components; the first two are drawn.
        losses: (S, Q).
        pairs: Of the task.
        drawn: (Q, 2) indices of pairs.
        decode: Token ids to text.

    Returns:
        None if there is nothing to draw.
    """
    from glassbox.plots import RankedParallelograms

    chosen = ranked_quadruples(losses[0], pairs.tokens, drawn, RANKS)
    if len(chosen) == 0 or not bool(losses[0].isfinite().all()):
        return None
    tokens = pairs.tokens[drawn[chosen]].flatten(1)  # (R, 4): i, j, m, n
    corners = space.coordinates[0, :, :2].cpu()[tokens] / space.scale[0].cpu()
    words = [
        part_labels([*pairs.words[first], *pairs.words[second]], [decode([token]) for token in row])
        for (first, second), row in zip(drawn[chosen].tolist(), tokens.tolist(), strict=True)
    ]
    own = losses[0].cpu()[chosen]
    return RankedParallelograms(corners.numpy(), words, own.numpy(), list(RANKS[: len(chosen)]))
