"""Small multiples of the first two principal components of an embedding, one panel a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from callbacks.plots.arrays import Floats, as_floats
from callbacks.plots.colors import POINT, GroupKind, group_colors, text_on
from callbacks.plots.labels import beside, compact, uncovered
from callbacks.plots.style import (
    INK,
    LINE,
    NOTE_SIZE,
    POINTS_PER_INCH,
    QUIET,
    TITLE_SIZE,
    house_style,
    new_figure,
    shorten,
    wrap_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LABELS = 45  # more points than this are drawn without text
MARGIN, GAP, LINE_HEIGHT = 0.15, 0.14, 0.19  # inches


class Marks(NamedTuple):
    """How the points of all panels are drawn; lengths in typographic points."""

    mode: str  # "inside" (numbers on discs), "beside" (text next to dots) or "none"
    labels: list[str]
    diameter: float
    panel: float


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
        groups: (P,) or (S, P) values that colour the points; nan is grey.
        group_kind: what the values mean, see `group_colors`.
        group_name: if given, a key to the colours stands below the panels under this name.
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
    for name, given, needed in (("labels", labels, size), ("seeds", seeds, count),
                                ("titles", titles, count)):  # fmt: skip
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
    caption = 0.21 + (0.13 if titles is not None else 0.0)
    footer = 0.34 if group_name is not None and values is not None else MARGIN
    height = header + rows * (caption + panel) + (rows - 1) * 0.06 + footer

    with rc_context(house_style() | {"axes.spines.top": True, "axes.spines.right": True}):
        figure = new_figure(width, height)
        for number, line in enumerate(heading):
            y = 1 - (MARGIN + LINE_HEIGHT * number) / height
            figure.text(MARGIN / width, y, line, size=TITLE_SIZE, va="top")
        colors = group_colors(values, group_kind) if values is not None else None
        marks = _choose_marks(points, labels, panel * POINTS_PER_INCH)
        for index in range(count):
            row, column = divmod(index, columns)
            left = MARGIN + column * (panel + GAP)
            top = header + caption + row * (caption + panel + 0.06)
            axes = figure.add_axes(
                (left / width, 1 - (top + panel) / height, panel / width, panel / height)
            )
            extra = titles[index] if titles is not None else None
            _panel_title(axes, _name(seeds, ratios, index), extra, panel)
            _draw_panel(axes, points[index], colors[index] if colors is not None else None,
                        pairs, marks)  # fmt: skip
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
        parts.append(f"EV {100 * ratios[index]:.0f} %" if known else "EV –")
    return " · ".join(parts)


def _panel_title(axes: Axes, name: str, extra: str | None, panel: float) -> None:
    axes.set_title(name, loc="center", size=NOTE_SIZE + 0.3, y=1.0, pad=4 if extra is None else 12)
    if extra is not None:
        axes.annotate(
            shorten(extra, panel, NOTE_SIZE - 0.5), (0.5, 1.0), xycoords="axes fraction",
            xytext=(0, 4), textcoords="offset points", ha="center", va="baseline",
            size=NOTE_SIZE - 0.5, color=QUIET, annotation_clip=False,
        )  # fmt: skip


def _frame(points: Floats, marks: Marks) -> tuple[Floats, float]:
    """Centre (2,) and half-width of a panel that holds all finite points with room for discs."""
    finite = points[np.isfinite(points).all(axis=1)]
    if len(finite) == 0:
        return np.zeros(2), 1.0
    low, high = finite.min(axis=0), finite.max(axis=0)
    reach = float((high - low).max()) / 2
    border = marks.diameter / 2 + (7 if marks.mode == "beside" else 4)
    half = marks.panel / 2
    return (low + high) / 2, reach * half / (half - border) if reach > 0 else 1.0


def _choose_marks(points: Floats, labels: Sequence[str] | None, panel: float) -> Marks:
    """Numbers on discs if most of them are legible, else text beside dots, else dots alone."""
    size = points.shape[1]
    texts = [compact(str(label)) for label in labels] if labels is not None else []
    dot = float(np.clip(0.32 * panel / np.sqrt(size), 3.6, 7.5))
    plain = Marks("none", texts, dot, panel)
    if not texts or size > MOST_LABELS:
        return plain
    if max(len(text) for text in texts) > 2:
        return Marks("beside", texts, min(dot, 5.0), panel)
    discs = Marks("inside", texts, float(np.clip(0.41 * panel / np.sqrt(size), 8.5, 15.0)), panel)
    legible = [uncovered(_in_points(seed, discs), 0.8 * discs.diameter).mean() for seed in points]
    return discs if np.mean(legible) >= 0.5 else plain


def _in_points(points: Floats, marks: Marks) -> Floats:
    centre, half = _frame(points, marks)
    return (points - centre) / half * marks.panel / 2


def _draw_panel(
    axes: Axes, points: Floats, colors: Floats | None, edges: NDArray[np.int64], marks: Marks
) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba

    centre, half = _frame(points, marks)
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.set_xlim(centre[0] - half, centre[0] + half)
    axes.set_ylim(centre[1] - half, centre[1] + half)
    finite = np.isfinite(points).all(axis=1)
    if not finite.any():
        axes.text(0, 0, "no finite points", ha="center", va="center", size=NOTE_SIZE, color=QUIET)
        return
    if len(edges):
        whole = edges[finite[edges].all(axis=1)]
        axes.add_collection(
            LineCollection(points[whole], colors=LINE, linewidths=0.6, zorder=1), autolim=False
        )
    if colors is None:
        colors = np.tile(np.array(to_rgba(POINT)), (len(points), 1))
    carries = np.zeros(len(points), dtype=bool)
    positions = _in_points(points, marks)
    if marks.mode == "inside":
        carries = uncovered(positions, 0.8 * marks.diameter)
    order = np.argsort(carries, kind="stable")  # a labelled disc lies above one without a label
    order = order[finite[order]]
    axes.scatter(
        *points[order].T, s=marks.diameter**2, c=colors[order], zorder=2, clip_on=False,
        alpha=1.0 if marks.mode == "inside" else 0.85, linewidths=0.5, edgecolors="white",
    )  # fmt: skip
    if marks.mode == "inside":
        inks = text_on(colors)
        for index in np.flatnonzero(carries):
            axes.text(*points[index], marks.labels[index], size=0.56 * marks.diameter,
                      color=inks[index], ha="center", va="center_baseline", zorder=3)  # fmt: skip
    elif marks.mode == "beside":
        size = 4.6 if marks.panel < 2.2 * POINTS_PER_INCH else 6.5
        placed = beside(positions, marks.labels, size=size, diameter=marks.diameter,
                        half_width=marks.panel / 2)  # fmt: skip
        for index, x, y in placed:
            spot = centre + np.array([x, y]) * 2 * half / marks.panel
            axes.text(*spot, marks.labels[index], size=size, color=INK, ha="center",
                      va="center_baseline", zorder=3)  # fmt: skip


def _color_key(figure: Figure, values: Floats, kind: GroupKind, name: str) -> None:
    """A row of coloured dots with their values at the foot of the figure."""
    from matplotlib.lines import Line2D

    distinct = np.unique(values[np.isfinite(values)])
    if len(distinct) == 0:
        return
    colors = group_colors(distinct, kind)
    shown = np.unique(np.linspace(0, len(distinct) - 1, 8).astype(int)) if len(distinct) > 12 \
        else np.arange(len(distinct))  # fmt: skip
    handles = [
        Line2D([], [], marker="o", markersize=4.5, linestyle="", color=colors[index],
               label=f"{distinct[index]:g}")
        for index in shown
    ]  # fmt: skip
    blank = Line2D([], [], linestyle="", label=name)
    figure.legend(
        handles=[blank, *handles], loc="lower center", ncols=len(handles) + 1, handletextpad=-0.1,
        columnspacing=0.9, borderaxespad=0.4, fontsize=NOTE_SIZE,
    )  # fmt: skip
