"""Small multiples of the first two principal components of an embedding, one panel a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.colors import GroupKind, group_colors
from glassbox.plots.embedding_panel import choose_marks, draw_panel, draw_panel_title
from glassbox.plots.style import (
    NOTE_SIZE,
    POINTS_PER_INCH,
    TITLE_SIZE,
    house_style,
    new_figure,
    wrap_title,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGIN, GAP, LINE_HEIGHT = 0.15, 0.14, 0.19  # inches


def embedding_grid(
    coordinates: ArrayLike,
    *,
    explained: ArrayLike | None = None,
    labels: Sequence[str] | None = None,
    groups: ArrayLike | None = None,
    group_kind: GroupKind = "categorical",
    group_name: str | None = None,
    edges: ArrayLike | None = None,
    seeds: Sequence[int] | None = None,
    titles: Sequence[str] | None = None,
    title: str = "",
    columns: int = 5,
) -> Figure:
    """Draw the points of every seed in the plane of their first two principal components.

    After Figures 2 and 7 of the harmonic-loss paper. Every panel is square with equal aspect, and
    scaled to its own points. Numbers stand on the points where they are short and legible: a label
    that would cover another one is left out, never its point.

    Args:
        coordinates: (S, P, 2) points of S seeds, any unit; points with nan are not drawn.
        explained: (S,) fraction of variance in the two components, 0 to 1.
        labels: P texts; tuples of single characters such as "(2,3)" are drawn as "23".
        groups: (P,) or (S, P) values that color the points; nan is gray.
        group_kind: what the values mean, see `group_colors`.
        group_name: if given, a key to the colors stands below the panels under this name.
        edges: (M, 2) pairs of point indices, drawn as thin lines below the points.
        seeds: S seeds, named above the panels.
        titles: S further texts, one a panel, such as the best coset's name.
        title: of the whole figure.
        columns: panels in a full row.
    """
    from matplotlib import rc_context

    points = as_floats(coordinates, "coordinates", (None, None, 2), "(seeds, points, 2)")
    count, size = points.shape[:2]
    ratios = None if explained is None else as_floats(explained, "explained", (count,), "(seeds,)")
    for name, given, needed in (
        ("labels", labels, size),
        ("seeds", seeds, count),
        ("titles", titles, count),
    ):
        if given is not None and len(given) != needed:
            raise ValueError(f"{name} has {len(given)} entries, expected {needed}.")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, not {columns}.")
    pairs = _check_edges(edges, size)
    values = _check_groups(groups, count, size)

    columns = min(columns, count)
    rows = -(-count // columns)
    panel = {1: 3.8, 2: 3.0, 3: 2.5, 4: 2.3}.get(columns, 1.9)
    width = 2 * MARGIN + columns * panel + (columns - 1) * GAP
    heading = wrap_title(title, width - 2 * MARGIN)
    header = MARGIN + LINE_HEIGHT * len(heading) + (0.04 if heading else -0.06)
    named = seeds is not None or ratios is not None
    caption = (0.21 if named else 0.06) + (0.13 if titles is not None else 0.0)
    footer = 0.34 if group_name is not None and values is not None else MARGIN
    height = header + rows * (caption + panel) + (rows - 1) * 0.06 + footer

    with rc_context(house_style(box=True)):
        figure = new_figure(width, height)
        for number, line in enumerate(heading):
            y = 1 - (MARGIN + LINE_HEIGHT * number) / height
            figure.text(MARGIN / width, y, line, size=TITLE_SIZE, va="top")
        colors = group_colors(values, group_kind) if values is not None else None
        marks = choose_marks(points, labels, panel * POINTS_PER_INCH)
        for index in range(count):
            row, column = divmod(index, columns)
            left = MARGIN + column * (panel + GAP)
            top = header + caption + row * (caption + panel + 0.06)
            axes = figure.add_axes(
                (left / width, 1 - (top + panel) / height, panel / width, panel / height)
            )
            extra = titles[index] if titles is not None else None
            draw_panel_title(axes, _name(seeds, ratios, index), extra, panel)
            draw_panel(
                axes, points[index], colors[index] if colors is not None else None, pairs, marks
            )
        if group_name is not None and values is not None:
            _color_key(figure, values, group_kind, group_name)
    return figure


def _check_edges(edges: ArrayLike | None, size: int) -> NDArray[np.int64]:
    pairs = np.zeros((0, 2), np.int64) if edges is None else np.asarray(edges)
    if pairs.size == 0:
        return np.zeros((0, 2), np.int64)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.issubdtype(pairs.dtype, np.integer):
        raise ValueError(f"edges has shape {pairs.shape}, expected integers (edges, 2).")
    if pairs.min() < 0 or pairs.max() >= size:
        raise ValueError(f"edges must name points 0 to {size - 1}.")
    return pairs.astype(np.int64)


def _check_groups(groups: ArrayLike | None, count: int, size: int) -> Floats | None:
    if groups is None:
        return None
    values = np.asarray(groups, dtype=np.float64)
    if values.shape not in ((size,), (count, size)):
        raise ValueError(
            f"groups has shape {values.shape}, expected (points,) = ({size},) or "
            f"(seeds, points) = ({count}, {size})."
        )
    return np.broadcast_to(values, (count, size))


def _name(seeds: Sequence[int] | None, ratios: Floats | None, index: int) -> str:
    parts = [] if seeds is None else [f"seed {seeds[index]}"]
    if ratios is not None:
        known = np.isfinite(ratios[index])
        parts.append(f"EV {100 * ratios[index]:.0f} %" if known else "EV nan")
    return " · ".join(parts)


def _color_key(figure: Figure, values: Floats, kind: GroupKind, name: str) -> None:
    """A row of colored dots with their values at the foot of the figure."""
    from matplotlib.lines import Line2D

    distinct = np.unique(values[np.isfinite(values)])
    if len(distinct) == 0:
        return
    colors = group_colors(distinct, kind)
    shown = (
        np.unique(np.linspace(0, len(distinct) - 1, 8).astype(int))
        if len(distinct) > 12
        else np.arange(len(distinct))
    )
    handles = [
        Line2D(
            [],
            [],
            marker="o",
            markersize=4.5,
            linestyle="",
            color=colors[index],
            label=f"{distinct[index]:g}",
        )
        for index in shown
    ]
    blank = Line2D([], [], linestyle="", label=name)
    figure.legend(
        handles=[blank, *handles],
        loc="lower center",
        ncols=len(handles) + 1,
        handletextpad=-0.1,
        columnspacing=0.9,
        borderaxespad=0.4,
        fontsize=NOTE_SIZE,
    )
