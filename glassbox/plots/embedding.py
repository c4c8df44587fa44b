"""The first two principal components of an embedding, one panel per seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.colors import GroupKind, group_colors
from glassbox.plots.embedding_panel import choose_marks, draw_panel, draw_panel_title
from glassbox.plots.figure_title import LEFT, layout_title
from glassbox.plots.style import POINTS_PER_INCH, house_style, new_figure, place_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 5
GAP = 0.14  # inches between panels


def embedding_grid(
    coordinates: ArrayLike,
    *,
    explained: ArrayLike | None = None,
    labels: Sequence[str] | None = None,
    groups: ArrayLike | None = None,
    group_kind: GroupKind = "categorical",
    edges: ArrayLike | None = None,
    seeds: Sequence[int] | None = None,
    titles: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """Draw the points of every seed in the plane of their first two principal components.

    After Figures 2 and 7 of the harmonic-loss paper. Every panel is square with equal aspect, and
    scaled to its own points. Labels of up to two characters are drawn on their points; a label that
    would cover another one is left out, never its point.

    Args:
        coordinates: (S, P, 2) points of S seeds, any unit; points with nan are not drawn.
        explained: (S,) fraction of variance in the two components, 0 to 1.
        labels: P texts; tuples of single characters such as "(2,3)" are drawn as "23".
        groups: (P,) or (S, P) values that color the points; nan is gray.
        group_kind: What the values mean, see `group_colors`.
        edges: (M, 2) pairs of point indices, drawn as thin lines below the points.
        seeds: S seeds, named above the panels.
        titles: S further texts, one per panel, such as the best coset's name.
        title: Figure title.

    Raises:
        ValueError: Shapes do not fit, or an edge names a point that does not exist.
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
    pairs = _check_edges(edges, size)
    values = _check_groups(groups, count, size)

    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    panel = {1: 3.8, 2: 3.0, 3: 2.5, 4: 2.3}.get(columns, 1.9)
    width = 2 * LEFT + columns * (panel + GAP) - GAP
    heading = layout_title(title, [], width - 2 * LEFT)
    named = seeds is not None or ratios is not None
    above = (0.21 if named else 0.06) + (0.13 if titles is not None else 0.0)
    row_height = above + panel + 0.06
    height = heading.height + rows * row_height + 0.09
    with rc_context(house_style(box=True)):
        figure = new_figure(width, height)
        heading.draw(figure)
        colors = group_colors(values, group_kind) if values is not None else None
        marks = choose_marks(points, labels, panel * POINTS_PER_INCH)
        for index in range(count):
            row, column = divmod(index, columns)
            left = LEFT + column * (panel + GAP)
            top = heading.height + above + row * row_height
            axes = place_axes(figure, left, top, panel, panel)
            extra = titles[index] if titles is not None else None
            draw_panel_title(axes, _name(seeds, ratios, index), extra, panel)
            panel_colors = colors[index] if colors is not None else None
            draw_panel(axes, points[index], panel_colors, pairs, marks)
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
