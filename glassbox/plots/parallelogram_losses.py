"""Parallelogram losses of word pairs: their distribution, and two models' against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.colors import POINT, model_colors
from glassbox.plots.style import (
    LABEL_SIZE,
    MUTED_COLOR,
    NOTE_SIZE,
    TEXT_COLOR,
    house_style,
    new_figure,
    place_axes,
    shorten,
    wrap_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
PANEL, HEIGHT = 1.78, 1.36  # inches of one task's panel
LEFT, RIGHT, BOTTOM, GAP, ABOVE = 0.8, 0.16, 0.52, 0.14, 0.3  # inches around and between panels
DOTS = 1500  # of a scatter's panel; more only blacken it
ROUND = (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40)


def parallelogram_distributions(
    losses: Mapping[str, Mapping[str, ArrayLike]],
    *,
    title: str = "",
    squared: bool = False,
    limit: float | None = None,
) -> Figure:
    """Draw the cumulative distribution of every task's losses, all models in one panel a task.

    After the top right of Figure 6 of the harmonic-loss paper. A line further up has smaller
    losses. It starts at the share of exact zeros (which the authors subtract). The share of losses
    below 1 is written in each panel.

    Args:
        losses: (Q,) losses by model and by task, the same tasks for all models.
        title: Of the figure.
        squared: Whether they are squared, for the axis.
        limit: Right end of the axis; by default what nine losses of ten lie below.

    Raises:
        ValueError: No model or no task, or models with different tasks.
    """
    from matplotlib import rc_context

    models, tasks = list(losses), _tasks(losses)
    values = {
        model: {task: as_floats(losses[model][task], task, (None,), "(losses,)") for task in tasks}
        for model in models
    }
    end = limit or _round_limit([v for of_model in values.values() for v in of_model.values()])
    grid = np.linspace(0, end, 300)
    colors = model_colors(models)
    with rc_context(house_style()):
        figure, panels = _panels(tasks, title, extra=0.26)
        for axes, task in zip(panels, tasks, strict=True):
            axes.axvline(1, color=MUTED_COLOR, linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
            for place, (model, color) in enumerate(zip(models, colors, strict=True)):
                found = np.sort(values[model][task])
                known = max(1, int(np.isfinite(found).sum()))
                share = np.searchsorted(found, grid, side="right") / known
                axes.plot(grid, share, color=color, label=model)
                axes.text(
                    0.97,
                    0.06 + 0.115 * (len(models) - 1 - place),
                    f"{100 * (found < 1).sum() / known:.0f} % below 1",
                    transform=axes.transAxes,
                    ha="right",
                    size=NOTE_SIZE,
                    color=color,
                )
            axes.set_xlim(0, end)
            axes.set_ylim(0, 1.02)
            axes.set_yticks([0, 0.5, 1.0], ["0", "50 %", "100 %"])
            axes.grid(axis="y")
        name = "squared parallelogram loss" if squared else "parallelogram loss"
        _label(figure, panels, name, "share of quadruples with a smaller loss")
        handles, labels = panels[0].get_legend_handles_labels()
        width, height = figure.get_size_inches()
        figure.legend(
            handles,
            labels,
            loc="upper left",
            bbox_to_anchor=((LEFT - 0.06) / width, 1 - (_heading(title, width) + 0.02) / height),
            ncols=len(models),
            borderaxespad=0,
        )
    return figure


def parallelogram_scatter(
    losses: Mapping[str, Mapping[str, ArrayLike]],
    *,
    title: str = "",
    squared: bool = False,
    limit: float | None = None,
) -> Figure:
    """Draw each quadruple's loss under the second model over that under the first, task by task.

    Points below the diagonal are better parallelograms in the second model; their share, ties left
    out, is written in each panel.

    Args:
        losses: (Q,) losses by model and by task, of two models on the same quadruples.
        title: Of the figure.
        squared: Whether they are squared, for the axes.
        limit: End of both axes; by default what nine losses of ten lie below.

    Raises:
        ValueError: Not two models, no task, or different tasks or numbers of quadruples.
    """
    from matplotlib import rc_context

    if len(losses) != 2:
        raise ValueError(f"a scatter compares two models, got {len(losses)}.")
    (first, second), tasks = list(losses), _tasks(losses)
    pairs: dict[str, tuple[Floats, Floats]] = {}
    for task in tasks:
        x = as_floats(losses[first][task], task, (None,), "(losses,)")
        pairs[task] = x, as_floats(losses[second][task], task, (len(x),), "(losses,)")
    end = _round_limit([v for pair in pairs.values() for v in pair]) if limit is None else limit
    with rc_context(house_style(box=True)):
        figure, panels = _panels(tasks, title, extra=0.0, height=PANEL)
        for axes, task in zip(panels, tasks, strict=True):
            x, y = pairs[task]
            axes.plot(
                [0, end], [0, end], color=TEXT_COLOR, linewidth=0.8, linestyle=(0, (4, 3)), zorder=3
            )
            shown = slice(None, None, max(1, len(x) // DOTS))
            axes.scatter(x[shown], y[shown], s=2.5, color=POINT, alpha=0.35, linewidths=0, zorder=2)
            decided = max(1, int((x != y).sum()))
            axes.text(
                0.96,
                0.05,
                f"{100 * (y < x).sum() / decided:.0f} % below",
                transform=axes.transAxes,
                ha="right",
                size=NOTE_SIZE,
                bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none"},
                zorder=4,
            )
            axes.set(xlim=(0, end), ylim=(0, end))
            axes.set_yticks(axes.get_xticks()[axes.get_xticks() <= end])
        name = "squared loss" if squared else "loss"
        _label(figure, panels, f"{name}, {first}", f"{name}, {second}")
    return figure


def _tasks(losses: Mapping[str, Mapping[str, ArrayLike]]) -> list[str]:
    if not losses or not next(iter(losses.values())):
        raise ValueError("there are no losses to draw.")
    tasks = list(next(iter(losses.values())))
    for model, of_model in losses.items():
        if set(of_model) != set(tasks):
            raise ValueError(f"the tasks of {model} are not those of {next(iter(losses))}.")
    return tasks


def _round_limit(values: Sequence[Floats]) -> float:
    """A round number that nine of ten values lie below, of the set where they are largest."""
    finite = [found[np.isfinite(found)] for found in values]
    furthest = max((float(np.quantile(part, 0.9)) for part in finite if len(part)), default=1.0)
    return next((float(limit) for limit in ROUND if limit >= furthest), float(ROUND[-1]))


def _heading(title: str, width: float) -> float:
    """Inches that the title takes."""
    return 0.1 + 0.19 * len(wrap_title(title, width - LEFT - RIGHT))


def _panels(
    tasks: Sequence[str], title: str, *, extra: float, height: float = HEIGHT
) -> tuple[Figure, list[Axes]]:
    """A figure with one panel a task, ticks at its left and lower edge; `extra` inches on top."""
    columns = min(COLUMNS, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    width = LEFT + columns * PANEL + (columns - 1) * GAP + RIGHT
    width = max(width, LEFT + 2 * PANEL + RIGHT)
    top = _heading(title, width) + extra
    figure = new_figure(width, top + rows * (height + ABOVE) + BOTTOM)
    lines = wrap_title(title, width - LEFT - RIGHT)
    figure.text(
        LEFT / width, 1 - 0.1 / figure.get_figheight(), "\n".join(lines), va="top", size=10.0
    )
    panels = []
    for index, task in enumerate(tasks):
        row, column = divmod(index, columns)
        left = LEFT + column * (PANEL + GAP)
        above = top + row * (height + ABOVE) + ABOVE
        axes = place_axes(
            figure,
            left=left,
            right=width - left - PANEL,
            bottom=figure.get_figheight() - above - height,
            top=above,
        )
        name = shorten(task.replace("_", " "), PANEL, LABEL_SIZE)
        axes.set_title(name, size=LABEL_SIZE, pad=4)
        axes.tick_params(labelleft=column == 0, labelbottom=index + columns >= len(tasks))
        panels.append(axes)
    return figure, panels


def _label(figure: Figure, panels: Sequence[Axes], x: str, y: str) -> None:
    """One label for all x axes and one for all y axes, in the middle of the panels."""
    boxes = [axes.get_position() for axes in panels]
    left, right = min(box.x0 for box in boxes), max(box.x1 for box in boxes)
    low, high = min(box.y0 for box in boxes), max(box.y1 for box in boxes)
    width, height = figure.get_size_inches()
    figure.text((left + right) / 2, 0.1 / height, x, ha="center", va="bottom", size=LABEL_SIZE)
    figure.text(0.1 / width, (low + high) / 2, y, rotation=90, va="center", size=LABEL_SIZE)
