"""Embeddings of every task, model and seed in their first two principal components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from glassbox.plots.arrays import finite_rows
from glassbox.plots.colors import MISSING, GroupKind, group_colors
from glassbox.plots.embedding_panel import Marks, draw_panel, draw_panel_title
from glassbox.plots.figure_title import layout_title
from glassbox.plots.style import (
    CHARACTER_WIDTH,
    LABEL_SIZE,
    LINE,
    MUTED_COLOR,
    NOTE_SIZE,
    POINTS_PER_INCH,
    house_style,
    new_figure,
    wrap_title,
)
from glassbox.reproduction.figures.panel_grid import MARGIN
from glassbox.reproduction.figures.select_points import array_of, axis_values, numbers_of, point_at
from glassbox.reproduction.grid_point import GridPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXPLAINED = "val/embedding/explained_variance_2"
SILHOUETTE = "val/embedding/coset_silhouette"
GAP, CAPTION, TASK_GAP, TASK_ROOM = 0.06, 0.15, 0.22, 0.42  # inches


def embeddings_by_model(
    points: Sequence[GridPoint],
    *,
    title: str = "",
    columns: int = 20,
    chance: float | None = None,
    group_kinds: Mapping[str, GroupKind] | None = None,
    group_names: Mapping[str, str] | None = None,
) -> Figure:
    """Draw a square panel for every seed, in a row per model, grouped by task.

    After Figures 2 and 7 of the harmonic-loss paper. Every panel has equal aspect and its own
    scale. Above it is the variance that the two components explain, beside the row the median of
    that over all seeds, including those not shown.

    Args:
        points: With the axes "task" and "model"; rows follow the order in which their values first
            appear. Metric ``val/embedding/explained_variance_2``, array ``coordinates`` (S, P, 2),
            and where they exist ``groups`` (S, P), which color the points, and ``edges``
            (S, M, 2), pairs of points joined by thin lines. P may differ between tasks. Panels of
            missing and diverged runs say so.
        columns: Largest number of seeds that are drawn, the smallest first.
        chance: If runs have the metric ``val/embedding/coset_silhouette``, panels of seeds below
            this are gray: colors of the best of many partitions look like clusters even in random
            embeddings.
        group_kinds: Task -> kind of its groups, see :func:`~glassbox.plots.group_colors`;
            "categorical" by default.
        group_names: Task -> meaning of its colors, written below the panels.
    """
    from matplotlib import rc_context

    tasks, models = axis_values(points, "task"), axis_values(points, "model")
    if columns < 1:
        raise ValueError(f"columns is {columns}; it must be at least 1")
    all_seeds = sorted({seed for point in points for seed in point.seeds})
    seeds = all_seeds[:columns]
    panel = 1.3 if len(seeds) <= 4 else 1.0 if len(seeds) <= 10 else 0.76
    names = [_lines(model, 1.1, NOTE_SIZE) for model in models]
    medians = [_median_lines(point) for point in points]
    widest = max(len(line) for lines in [*names, *medians] for line in lines)
    left = MARGIN + TASK_ROOM + widest * CHARACTER_WIDTH * NOTE_SIZE / POINTS_PER_INCH + 0.1
    width = max(left + len(seeds) * (panel + GAP) - GAP + MARGIN, 4.0)
    heading = layout_title(title, [], width - 2 * MARGIN)
    shown = f"{len(seeds)} of {len(all_seeds)} seeds shown." if seeds != all_seeds else ""
    gray = chance is not None and any(_has_silhouettes(point) for point in points)
    note = f"Gray: no coset structure beyond chance (silhouette below {chance:g})." if gray else ""
    texts = [_color_key(tasks, group_names or {}), note, shown]
    key = wrap_title(" ".join(filter(None, texts)), width - 2 * MARGIN, NOTE_SIZE)
    above = heading.height + 0.14  # the first row also names the seeds
    task_height = len(models) * (CAPTION + panel) + (len(models) - 1) * GAP
    below = MARGIN + (0.1 + 0.14 * len(key) if key else 0.0)
    height = above + len(tasks) * (task_height + TASK_GAP) - TASK_GAP + below

    with rc_context(house_style(box=True)):
        figure = new_figure(width, height)

        def write(x: float, y: float, text: str, **style: Any) -> None:
            figure.text(x / width, 1 - y / height, text, **style)

        heading.draw(figure, MARGIN)
        for number, line in enumerate(key):
            y = height - below + 0.14 + 0.14 * number
            write(MARGIN, y, line, size=NOTE_SIZE, color=MUTED_COLOR, va="top")
        for task_index, task in enumerate(tasks):
            task_top = above + task_index * (task_height + TASK_GAP) + CAPTION
            _name_task(figure, task, task_top, task_top + task_height - CAPTION)
            for row, (model, name) in enumerate(zip(models, names, strict=True)):
                top = task_top + row * (CAPTION + panel + GAP)
                point = point_at(points, {"task": task, "model": model})
                x, middle = left - 0.1, top + panel / 2
                write(x, middle, "\n".join(name), size=NOTE_SIZE, ha="right", va="bottom")
                median = "\n".join(_median_lines(point))
                style = {"size": NOTE_SIZE - 0.5, "color": MUTED_COLOR, "ha": "right", "va": "top"}
                write(x, middle + 0.03, median, **style)
                row_axes = [
                    figure.add_axes(
                        (
                            (left + column * (panel + GAP)) / width,
                            1 - (top + panel) / height,
                            panel / width,
                            panel / height,
                        )
                    )
                    for column in range(len(seeds))
                ]
                kind = (group_kinds or {}).get(task, "categorical")
                first = task_index == row == 0
                _draw_row(row_axes, point, seeds, kind, panel, first=first, chance=chance)
    return figure


def _draw_row(
    row: Sequence[Axes],
    point: GridPoint | None,
    seeds: Sequence[int],
    kind: GroupKind,
    panel: float,
    *,
    first: bool,
    chance: float | None,
) -> None:
    """Draw the seeds of one point into panels of `panel` inches; the first row names them."""
    from matplotlib.colors import to_rgba

    finished = [] if point is None else list(point.seeds)
    if point is not None:
        coordinates = np.asarray(array_of(point, "coordinates"), dtype=np.float64)  # (S, P, 2)
        explained = numbers_of(point, EXPLAINED)
        groups, edges = point.array("groups"), point.array("edges")
        colors = None if groups is None else group_colors(groups, kind)  # (S, P, 4)
        if colors is not None and chance is not None and _has_silhouettes(point):
            colors[~(numbers_of(point, SILHOUETTE) >= chance)] = to_rgba(MISSING)
        side = panel * POINTS_PER_INCH
        dot = float(np.clip(0.28 * side / np.sqrt(coordinates.shape[1]), 2.2, 6.0))
        marks = Marks("none", [], dot, side)
    for axes, seed in zip(row, seeds, strict=True):
        name = f"seed {seed}" if first else ""
        if seed not in finished:
            _note(axes, "not run")
            axes.axis("off")
            draw_panel_title(axes, name, " ", panel)
            continue
        index = finished.index(seed)
        fraction = explained[index]
        extra = f"EV {100 * fraction:.0f} %" if np.isfinite(fraction) else "EV –"
        draw_panel_title(axes, name, extra, panel)
        if not finite_rows(coordinates[index]).any():
            _note(axes, "diverged")
            continue
        pairs = np.zeros((0, 2), np.int64) if edges is None else edges[index].astype(np.int64)
        color = None if colors is None else colors[index]
        draw_panel(axes, coordinates[index], color, pairs, marks)


def _note(axes: Axes, text: str) -> None:
    axes.set(xticks=[], yticks=[])
    place: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
    axes.text(0.5, 0.5, text, size=NOTE_SIZE - 0.5, color=MUTED_COLOR, **place)


def _name_task(figure: Figure, task: str, top: float, bottom: float) -> None:
    """Write a task's name upright beside its rows, with a line along them; lengths in inches."""
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    lines = _lines(task, bottom - top, LABEL_SIZE)[:2]
    y = 1 - (top + bottom) / 2 / height
    place: dict[str, Any] = {"rotation": 90, "ha": "center", "va": "center", "linespacing": 1.05}
    x = (MARGIN + 0.14) / width
    figure.text(x, y, "\n".join(lines), size=LABEL_SIZE, weight="bold", **place)
    x = (MARGIN + TASK_ROOM - 0.1) / width
    ends = [1 - top / height, 1 - bottom / height]
    figure.add_artist(Line2D([x, x], ends, color=LINE, linewidth=1.2))


def _median_lines(point: GridPoint | None) -> list[str]:
    """Median explained variance of a row, and its number of seeds with a value."""
    if point is None:
        return [""]
    explained = numbers_of(point, EXPLAINED)
    known = explained[np.isfinite(explained)]
    if not len(known):
        return ["EV –"]
    seeds = f"{len(known)} seeds" if len(known) > 1 else "1 seed"
    return ["median EV of", f"{seeds}: {100 * np.median(known):.0f} %"]


def _has_silhouettes(point: GridPoint) -> bool:
    values = point.metric(SILHOUETTE)
    return values is not None and bool(np.isfinite(values).any())


def _color_key(tasks: Sequence[str], names: Mapping[str, str]) -> str:
    colors = "; ".join(f"{task}: {names[task]}" for task in tasks if task in names)
    return f"EV: variance explained by the two components. Colors – {colors}." if colors else ""


def _lines(text: str, width: float, size: float) -> list[str]:
    return wrap_title(text, width, size) or [""]
