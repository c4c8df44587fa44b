"""Cumulative explained variance of every model, a panel per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from glassbox.plots.arrays import Floats
from glassbox.plots.colors import model_colors
from glassbox.plots.explained_variance import draw_curve
from glassbox.plots.style import LABEL_SIZE, LINE, NOTE_SIZE, house_style
from glassbox.reproduction.figures.panel_grid import BAND, line_handle, panel_grid, percent_axis
from glassbox.reproduction.figures.seed_counts import seed_counts
from glassbox.reproduction.figures.select_points import axis_values, numbers_of, point_at
from glassbox.reproduction.grid_point import GridPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PREFIX = "val/embedding/explained_variance_"


def explained_variance_by_model(
    points: Sequence[GridPoint],
    *,
    title: str = "",
    prefix: Mapping[str, str] | None = None,
    components: int = 10,
) -> Figure:
    """Draw the variance that the first 1, 2, … components explain: median and quartiles.

    After Figure 3(a) of the harmonic-loss paper, which shows medians only and does not share the
    y axis.

    Args:
        points: With the axes "task" and "model", and the metrics ``<prefix>1``, ``<prefix>2``, …
            with the cumulative fraction of the first k components; a line ends where they end. nan
            is left out, and the panel has the number of remaining seeds. The legend has the number
            of seeds of each model.
        prefix: Of the metrics of a task, where it is not ``val/embedding/explained_variance_``.
            One that ends in ``all_`` covers the embeddings of all tokens, which the title says.
        components: Number of components on the axes.
    """
    from matplotlib import rc_context
    from matplotlib.patches import Patch

    tasks, models = axis_values(points, "task"), axis_values(points, "model")
    if components < 1:
        raise ValueError(f"components is {components}; it must be at least 1")
    colors = model_colors(models)
    most = {m: max(len(p.seeds) for p in points if p.labels["model"] == m) for m in models}
    counts = seed_counts(points, models)
    notes = [f"{BAND} of {counts.common}" if counts.common else BAND] * (max(most.values()) > 2)
    with rc_context(house_style()):
        panels = panel_grid(
            rows=1,
            columns=len(tasks),
            panel=(2.0, 1.75),
            gap=(0.16, 0.0),
            left=0.72,
            bottom=0.48,
            legend=[*counts.labels, *notes],
            title=title,
        )
        row = panels.axes[0]
        for task, axes in zip(tasks, row, strict=True):
            start = (prefix or {}).get(task, PREFIX)
            percent_axis(axes, labels=axes is row[0])
            axes.set_xlim(0.6, max(components, 2) + 0.4)
            axes.set_xticks(range(1, components + 1))
            axes.set_xlabel("principal components")
            name = f"{task} (all tokens)" if start.endswith("all_") else task
            axes.set_title(name, size=LABEL_SIZE, pad=5)
            chosen = [point_at(points, {"task": task, "model": model}) for model in models]
            curves = [None if p is None else _curves(p, start, components) for p in chosen]
            _draw_task(axes, curves, colors, list(most.values()))
        row[0].set_ylabel("explained variance")
        handles = [
            line_handle(color, label) for label, color in zip(counts.labels, colors, strict=True)
        ]
        panels.add_legend([*handles, *(Patch(facecolor=LINE, alpha=0.4, label=n) for n in notes)])
    return panels.figure


def _draw_task(
    axes: Axes, curves: Sequence[Floats | None], colors: Sequence[str], most: Sequence[int]
) -> None:
    """Draw the curves (S, K) of each model, and note where some of its seeds are missing."""
    notes = []
    for values, color, seeds in zip(curves, colors, most, strict=True):
        if values is None:
            notes.append(line_handle(color, "not run"))
            continue
        known = int(np.isfinite(values[:, 0]).sum())
        if known < seeds:
            notes.append(line_handle(color, f"{known} of {seeds} seeds"))
        draw_curve(axes, np.arange(1.0, values.shape[1] + 1), values, color, "")
    if notes:
        axes.legend(handles=notes, loc="lower right", fontsize=NOTE_SIZE - 0.5)


def _curves(point: GridPoint, prefix: str, components: int) -> Floats:
    """Cumulative fractions (S, K) with K up to `components`, fewer if the metrics end."""
    curves = [numbers_of(point, f"{prefix}1")]
    for k in range(2, components + 1):
        if point.metric(f"{prefix}{k}") is None:
            break
        curves.append(numbers_of(point, f"{prefix}{k}"))
    return np.stack(curves, axis=1)
