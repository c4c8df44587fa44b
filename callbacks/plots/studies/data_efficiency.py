"""How many examples a model needs: test accuracy over the share of inputs it is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from callbacks.plots.arrays import Floats, quartiles
from callbacks.plots.colors import model_colors
from callbacks.plots.grid_point import GridPoint
from callbacks.plots.studies.layout import draw_median, panel_grid, share_axis
from callbacks.plots.studies.points import (
    axis_values,
    columns,
    numbers_of,
    numeric_values,
    point_at,
)
from callbacks.plots.style import LABEL_SIZE, QUIET, house_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAK = "data/test_inputs_in_train"
ROWS = (
    ("test/accuracy", "accuracy on\nall test inputs"),
    ("test/accuracy_clean", "accuracy on test inputs\nnever trained on"),
)
REMEMBERED = "test inputs that were trained on"


def data_efficiency(points: Sequence[GridPoint], *, title: str = "") -> Figure:
    """Draw test accuracy at the end of training over the train fraction, a panel for each task.

    After Figure 3(b) of the harmonic-loss paper, which shows one seed and gives every panel a
    hidden scale of its own: here all panels go from 0 to 100 %, with the median and the quartile
    band over seeds. Where inputs are drawn with replacement, some test inputs have been trained on;
    a grey line tells how many, which is the accuracy of a model that only remembers, and a second
    row of panels shows the accuracy on the others. Without such a leak there is one row.

    Args:
        points: With the axes "task", "model" and "train fraction" (numbers as text), in any order,
            and the metrics ``test/accuracy``, ``test/accuracy_clean`` and
            ``data/test_inputs_in_train``. A fraction without a point leaves a gap in its line; a
            seed that is nan is left out of the median.
        title: Of the figure.

    Raises:
        ValueError: An axis or a metric is missing, a fraction is no number, or several points fall
            on one place.
    """
    from matplotlib import rc_context

    tasks, models = axis_values(points, "task"), axis_values(points, "model")
    fractions = numeric_values(points, "train fraction")
    leaks = [numbers_of(point, LEAK) for point in points]
    leaky = any((leak > 0).any() for leak in leaks)
    rows = ROWS if leaky else ROWS[:1]
    with rc_context(house_style()):
        panels = panel_grid(
            rows=len(rows),
            columns=len(tasks),
            panel=(1.9, 1.65),
            gap=(0.14, 0.2),
            left=0.86,
            bottom=0.5,
            legend=[*models, REMEMBERED] if leaky else models,
            title=title,
        )
        for (metric, label), row in zip(rows, panels.axes, strict=True):
            for task, axes in zip(tasks, row, strict=True):
                _prepare(axes, list(fractions), first=axes is row[0], last=row is panels.axes[-1])
                for model, color in zip(models, model_colors(models), strict=True):
                    table = _table(points, {"task": task, "model": model}, fractions, metric)
                    found = quartiles(table)
                    draw_median(
                        axes, [*fractions], found, color=color, label=model, marker=3.2, band=0.18
                    )
                if leaky and row is panels.axes[0]:
                    _draw_leak(axes, list(fractions), _pooled(points, task, fractions))
            row[0].set_ylabel(label if leaky else "test accuracy")
        for task, axes in zip(tasks, panels.axes[0], strict=True):
            axes.set_title(task, size=LABEL_SIZE, pad=5)
        panels.add_legend(panels.axes[0][0].get_legend_handles_labels()[0])
    return panels.figure


def _table(
    points: Sequence[GridPoint], labels: dict[str, str], fractions: dict[float, str], metric: str
) -> Floats:
    """The metric (S, fractions), nan where a fraction has no point or fewer seeds."""
    found = [point_at(points, {**labels, "train fraction": text}) for text in fractions.values()]
    return columns([None if point is None else numbers_of(point, metric) for point in found])


def _pooled(points: Sequence[GridPoint], task: str, fractions: dict[float, str]) -> Floats:
    """The leak (all seeds of all models, fractions) of a task."""
    pooled: list[Floats | None] = []
    for text in fractions.values():
        here = {"task": task, "train fraction": text}
        values = [numbers_of(p, LEAK) for p in points if here.items() <= p.labels.items()]
        pooled.append(np.concatenate(values) if values else None)
    return columns(pooled)


def _prepare(axes: Axes, fractions: list[float], *, first: bool, last: bool) -> None:
    share_axis(axes, labels=first)
    low, high = fractions[0], fractions[-1]
    margin = 0.04 * (high - low) or 0.05
    axes.set_xlim(low - margin, high + margin)
    shown = fractions if len(fractions) <= 5 else fractions[:: -(-len(fractions) // 5)]
    axes.set_xticks(shown, [f"{fraction:g}" for fraction in shown])
    axes.set_xticks(fractions, minor=True)
    axes.tick_params(labelbottom=last)
    if last:
        axes.set_xlabel("train fraction")


def _draw_leak(axes: Axes, fractions: list[float], leak: Floats) -> None:
    axes.plot(
        fractions,
        quartiles(leak)[1],
        color=QUIET,
        linewidth=0.9,
        label=REMEMBERED,
        zorder=2.6,
    )
