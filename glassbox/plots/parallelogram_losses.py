"""Parallelogram losses of word pairs: their distribution, and two models' against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.colors import POINT, model_colors
from glassbox.plots.figure_title import titled_figure
from glassbox.plots.style import (
    DASHED,
    LABEL_SIZE,
    MUTED_COLOR,
    NOTE_SIZE,
    TEXT_COLOR,
    house_style,
    remove_unused,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
PANEL, HEIGHT = 1.9, 1.66  # inches of one task's panel with its name
MAX_DOTS = 1500  # in a scatter's panel; more only blacken it
ROUND_NUMBERS = (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40)


def parallelogram_distributions(
    losses: Mapping[str, Mapping[str, ArrayLike]], *, title: str = "", squared: bool = False
) -> Figure:
    """Draw the cumulative distribution of every task's losses, all models in one panel per task.

    After the top right of Figure 6 of the harmonic-loss paper. A line further up has smaller
    losses. It starts at the fraction of exact zeros (which the authors subtract). The fraction of
    losses below 1 is written in each panel. The axis ends at a round number that nine of ten
    losses lie below.

    Args:
        losses: (Q,) losses by model and by task, the same tasks for all models.
        title: Figure title.
        squared: Whether they are squared, for the axis.

    Raises:
        ValueError: No model or no task, or models with different tasks.
    """
    from matplotlib import rc_context
    from matplotlib.lines import Line2D

    tasks = _tasks(losses)
    values = {
        model: {task: as_floats(of_model[task], task, (None,), "(losses,)") for task in tasks}
        for model, of_model in losses.items()
    }
    end = _round_limit([v for of_model in values.values() for v in of_model.values()])
    grid = np.linspace(0, end, 300)
    colors = dict(zip(values, model_colors(list(values)), strict=True))
    with rc_context(house_style()):
        legend = [Line2D([], [], color=color, label=model) for model, color in colors.items()]
        figure, panels = _panels(tasks, title, HEIGHT, legend)
        for axes, task in zip(panels, tasks, strict=True):
            axes.axvline(1, color=MUTED_COLOR, linewidth=0.7, linestyle=DASHED, zorder=1)
            for place, (model, color) in enumerate(colors.items()):
                ordered = np.sort(values[model][task])
                known = max(1, int(np.isfinite(ordered).sum()))
                fraction = np.searchsorted(ordered, grid, side="right") / known
                axes.plot(grid, fraction, color=color, label=model)
                text = f"{100 * (ordered < 1).sum() / known:.0f} % below 1"
                where = (0.97, 0.06 + 0.115 * (len(colors) - 1 - place))
                axes.text(
                    *where, text, transform=axes.transAxes, ha="right", size=NOTE_SIZE, color=color
                )
            axes.set(xlim=(0, end), ylim=(0, 1.02))
            axes.set_yticks([0, 0.5, 1.0], ["0", "50 %", "100 %"])
            axes.grid(axis="y")
        figure.supxlabel(f"{'squared ' * squared}parallelogram loss", size=LABEL_SIZE)
        figure.supylabel("fraction with a smaller loss", size=LABEL_SIZE)
    return figure


def parallelogram_scatter(
    losses: Mapping[str, Mapping[str, ArrayLike]], *, title: str = "", squared: bool = False
) -> Figure:
    """Draw each quadruple's loss under the second model over that under the first, task by task.

    Points below the diagonal are better parallelograms in the second model; their fraction, ties
    left out, is written in each panel. Both axes end as in `parallelogram_distributions`.

    Args:
        losses: (Q,) losses by model and by task, of two models on the same quadruples.
        title: Figure title.
        squared: Whether they are squared, for the axes.

    Raises:
        ValueError: Not two models, no task, or different tasks or numbers of quadruples.
    """
    from matplotlib import rc_context
    from matplotlib.ticker import MaxNLocator

    if len(losses) != 2:
        raise ValueError(f"losses has {len(losses)} models; a scatter compares two.")
    (first, second), tasks = list(losses), _tasks(losses)
    pairs: dict[str, tuple[Floats, Floats]] = {}
    for task in tasks:
        x = as_floats(losses[first][task], task, (None,), "(losses,)")
        pairs[task] = x, as_floats(losses[second][task], task, (len(x),), "(losses,)")
    end = _round_limit([v for pair in pairs.values() for v in pair])
    with rc_context(house_style(box=True)):
        figure, panels = _panels(tasks, title, PANEL + 0.2)
        for axes, (x, y) in zip(panels, pairs.values(), strict=True):
            axes.plot([0, end], [0, end], color=TEXT_COLOR, linewidth=0.8, linestyle=DASHED)
            shown = slice(None, None, max(1, len(x) // MAX_DOTS))
            axes.scatter(x[shown], y[shown], s=2.5, color=POINT, alpha=0.35, linewidths=0, zorder=2)
            different = max(1, int((x != y).sum()))
            axes.text(
                0.96,
                0.05,
                f"{100 * (y < x).sum() / different:.0f} % below",
                transform=axes.transAxes,
                ha="right",
                size=NOTE_SIZE,
                bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none"},
                zorder=4,
            )
            axes.set(xlim=(0, end), ylim=(0, end), box_aspect=1, anchor="SW")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(4))
        name = f"{'squared ' * squared}loss"
        figure.supxlabel(f"{name}, {first}", size=LABEL_SIZE)
        figure.supylabel(f"{name}, {second}", size=LABEL_SIZE)
    return figure


def _tasks(losses: Mapping[str, Mapping[str, ArrayLike]]) -> list[str]:
    if not losses or not next(iter(losses.values())):
        raise ValueError("losses is empty: there is nothing to draw.")
    first, *others = losses
    for model in others:
        if set(losses[model]) != set(losses[first]):
            raise ValueError(f"losses of {model} and of {first} must have the same tasks.")
    return list(losses[first])


def _round_limit(values: Sequence[Floats]) -> float:
    """A round number that nine of ten values lie below, in the set where they are largest."""
    finite = [part[np.isfinite(part)] for part in values]
    largest = max((float(np.quantile(part, 0.9)) for part in finite if len(part)), default=1.0)
    return next((float(n) for n in ROUND_NUMBERS if n >= largest), float(ROUND_NUMBERS[-1]))


def _panels(
    tasks: Sequence[str], title: str, height: float, legend: Sequence[Artist] = ()
) -> tuple[Figure, list[Axes]]:
    """A figure with one named panel per task; ticks at its left and lower edge only."""
    columns = min(COLUMNS, len(tasks))
    rows = -(-len(tasks) // columns)
    width = 0.6 + PANEL * max(columns, 2)
    figure = titled_figure(width, 0.45 + rows * height, title, legend=legend)
    grid = figure.subplots(rows, columns, squeeze=False)
    remove_unused(grid, len(tasks))
    panels = list(grid.flat[: len(tasks)])
    for index, (axes, task) in enumerate(zip(panels, tasks, strict=True)):
        name = shorten(task.replace("_", " "), PANEL, LABEL_SIZE)
        axes.set_title(name, size=LABEL_SIZE, pad=4)
        bottom = index + columns >= len(tasks)
        axes.tick_params(labelleft=index % columns == 0, labelbottom=bottom)
    return figure, panels
