"""Parallelograms: whether pairs of words in one relation form parallelograms in the embedding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning as L
from torch import Tensor

from callbacks.probes.probe import when
from callbacks.probes.titles import loss_label
from callbacks.probes.word_pair_probe import WordPairProbe, check_numbers, over_tasks
from callbacks.probes.word_pairs import WordPairs, choose_figure_task, part_labels
from glassbox.metrics import (
    Projection,
    draw_quadruples,
    draw_unrelated,
    parallelogram_losses,
    parallelogram_scores,
    project_vocabulary,
    ranked_quadruples,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from glassbox.plots import RankedParallelograms

RANKS = (0, 1, 2, 10, 100, 500)
QUANTILES = (5, 25, 75, 95)  # per cent
NOTE = (
    "Ranks among quadruples of four different tokens, then the loss. A word's embedding is that of "
    "its last token, which stands behind the dot. Colored: from the first word of a pair to the "
    "second."
)


class Measured(NamedTuple):
    """One model's vocabulary in its principal components, and the losses of every task."""

    space: Projection
    losses: dict[str, Tensor]  # (S, Q)
    unrelated: dict[str, Tensor]  # (S, Q), the same first words with second words of other pairs


class Parallelograms(WordPairProbe):
    """How far word pairs are from parallelograms, in the first principal components of all words.

    Two pairs (i, j) and (m, n) of one relation, jump-jumped and win-won, have the loss
    ‖E_i + E_n − E_j − E_m‖/σ, where σ is the root mean square length of all words (harmonic-loss
    paper, equation 5). Logged are each task's median (``<task>/median``), share below 1
    (``<task>/below_1``) and median over that of unrelated words (``<task>/relative``: the same
    first words with second words of other pairs; 1 means that the relation is not seen), the
    medians of these over the tasks, and the share of variance that the components hold
    (``explained_variance``). Without the last two, losses of two models say little: where one
    direction dominates, they measure the words' places along it. Quantiles and the share of exact
    zeros (pairs whose words end in the same tokens; they count as losses of 0) are in
    ``results.json``.

    Args:
        every_n_epochs: Measure after every so many epochs (validations, where these are counted
            in steps), and after the last.
        figures_every_n_epochs: Draw after every so many epochs, and after the last; null draws
            after the last only.
        words: Folder with a JSON file for each task, a list of {"input": ..., "output": ...}; null
            takes the built-in ones: present to past, singular to plural, country to capital.
        tasks: Names of the files to take; null takes all.
        num_quadruples: Drawn for each task, with replacement, the same ones at every step.
        components: Principal components that words are projected on; null takes the whole space.
        squared: Square the loss, as the authors' code does and their equation does not.
        leading_space: Encode " word", as words within a text are, instead of "word".
        seed: Of the quadruples.
        figure_task: Task whose parallelograms are drawn; null takes present to past, or else the
            first. Drawn for two and more components.

    Raises:
        ValueError: A number is out of range, or the word pairs cannot be read.
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
        self._last: Measured | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        width = pl_module.embedding_matrix().shape[-1]  # type: ignore[operator]
        check_components(self.components, width)

    def measure(self, trainer: L.Trainer, module: L.LightningModule) -> Mapping[str, Tensor]:
        self._last = self._losses(module)
        values: dict[str, Tensor] = {}
        for task, losses in self._last.losses.items():
            scores = parallelogram_scores(losses, self._last.unrelated[task])
            values.update({f"{task}/{key}": value for key, value in scores._asdict().items()})
            for percent in QUANTILES:
                values[f"{task}/quantile_{percent}"] = losses.quantile(percent / 100, dim=-1)
        summary = ("median", "below_1", "relative")
        values |= {key: over_tasks(values, key) for key in summary}
        values["explained_variance"] = self._last.space.fractions.sum(-1)
        self.summary_metrics = [
            f"val/{self.name}/{key}" for key in (*summary, "explained_variance")
        ]
        return values

    def figures(self, trainer: L.Trainer, module: L.LightningModule) -> Mapping[str, Figure]:
        from glassbox.plots import parallelogram_distributions, ranked_parallelograms

        if self._last is None or self._measured_at != trainer.global_step:
            self._last = self._losses(module)
        space, all_losses, _ = self._last
        model = loss_label(module)
        first = {task: losses[0].cpu().numpy() for task, losses in all_losses.items()}
        heading = f"{describe_space(model, space, self.components)}{when(trainer)}"
        figures = {
            "parallelogram_losses": parallelogram_distributions(
                {model: first}, title=heading, squared=self.squared
            )
        }
        task, data = self.figure_task, trainer.datamodule  # type: ignore[attr-defined]
        ranked = None
        if self.components is not None and self.components >= 2:
            ranked = rank_parallelograms(
                space, all_losses[task], self.pairs[task], self.quadruples(task), data.decode
            )
        if ranked is not None:
            name = task.replace("_", " ")
            figures["parallelograms"] = ranked_parallelograms(
                {model: ranked}, title=f"{name} · {heading}", note=NOTE
            )
        return figures

    def _losses(self, module: Any) -> Measured:
        return measure_parallelograms(
            module.embedding_matrix(),
            self.pairs,
            self.num_quadruples,
            self.seed,
            self.components,
            self.squared,
        )


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
        num_quadruples: Drawn for each task.
        seed: Of the draw.
        components: Number of principal components; None for the whole space.
        squared: Square the losses.
    """
    space = project_vocabulary(embedding, components)
    found = Measured(space, {}, {})
    for task, (words, tokens) in pairs.items():
        drawn = draw_quadruples(len(words), num_quadruples, seed)
        others = draw_unrelated(drawn, len(words), seed)
        for losses, partners in ((found.losses, None), (found.unrelated, others)):
            losses[task] = parallelogram_losses(
                space.coordinates, space.scale, tokens, drawn, squared, partners
            )
    return found


def rank_parallelograms(
    space: Projection,
    losses: Tensor,
    pairs: WordPairs,
    drawn: Tensor,
    decode: Callable[[list[int]], str],
    ranks: Sequence[int] = RANKS,
) -> RankedParallelograms | None:
    """What the figure of one model's ranked parallelograms shows; None where nothing can be drawn.

    Args:
        space: Two or more principal components; the first two of the first of S models are drawn.
        losses: (S, Q).
        pairs: Of the task.
        drawn: (Q, 2) indices of pairs.
        decode: Token ids to text.
        ranks: Ascending, from 0.
    """
    from glassbox.plots import RankedParallelograms

    chosen = ranked_quadruples(losses[0], pairs.tokens, drawn, ranks)
    if len(chosen) == 0 or not bool(losses[0].isfinite().all()):
        return None
    tokens = pairs.tokens[drawn[chosen]].flatten(1)  # (R, 4): i, j, m, n
    corners = space.coordinates[0, :, :2].cpu()[tokens] / space.scale[0].cpu()
    words = [
        part_labels([*pairs.words[first], *pairs.words[second]], [decode([token]) for token in row])
        for (first, second), row in zip(drawn[chosen].tolist(), tokens.tolist(), strict=True)
    ]
    own = losses[0].cpu()[chosen]
    return RankedParallelograms(corners.numpy(), words, own.numpy(), list(ranks[: len(chosen)]))


def describe_space(model: str, space: Projection, components: int | None) -> str:
    """A figure's heading: the model and how much of its variance is looked at."""
    if components is None:
        return f"{model} · whole space"
    share = 100 * float(space.fractions[0].sum())
    return f"{model} · {components} principal components with {share:.0f} % of the variance"


def check_components(components: int | None, width: int) -> None:
    """Refuse more components than the embedding is wide.

    Raises:
        ValueError: Names both numbers.
    """
    if components is not None and not 1 <= components <= width:
        raise ValueError(
            f"components is {components}, and the embedding is {width} wide; take 1 to {width}, or "
            f"null for the whole space"
        )
