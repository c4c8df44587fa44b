"""Accuracy over the percentage of deleted words, for every point of a study in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from glassbox.plots.deletion_curve import DeletionCurve, deletion_curve
from glassbox.reproduction.figures.select_points import array_of
from glassbox.reproduction.grid_point import GridPoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXTS = "test/deletion/swept_texts"


def deletion_curves(
    points: Sequence[GridPoint],
    *,
    title: str = "",
    marked_percent: float | None = 30.0,
    score: str = "capacity",
    names: Sequence[str] | None = None,
) -> Figure:
    """Draw the deletion curves of several models, each over its seeds (SAFR paper, Figure 3).

    Args:
        points: With arrays ``percents`` (S, K), ``accuracy_highest`` and ``accuracy_lowest``
            (S, K) and ``accuracy_random`` (S, draws, K); one model each, named by its labels. The
            metric ``test/deletion/swept_texts``, the number of texts, is added to the title.
        marked_percent: Percentage of deleted words at which the legend has the loss of accuracy.
        score: What ranks the words, for the legend.
        names: Draw only points whose labels, joined by ", ", are among these.
    """
    shown = {", ".join(point.labels.values()): point for point in points}
    if names is not None:
        shown = {name: point for name, point in shown.items() if name in names}
    if not shown:
        raise ValueError("there is no deletion curve to draw: none of these points has been run")
    percents = array_of(next(iter(shown.values())), "percents")[0]
    curves = {
        name: DeletionCurve(
            *(array_of(point, f"accuracy_{order}") for order in ("highest", "lowest", "random"))
        )
        for name, point in shown.items()
    }
    metrics = [point.metric(TEXTS) for point in shown.values()]
    counts = {float(n) for values in metrics if values is not None for n in values}
    if len(counts) == 1:
        title = " · ".join(filter(None, [title, f"{counts.pop():,.0f} texts"]))
    return deletion_curve(percents, curves, marked_percent=marked_percent, score=score, title=title)
