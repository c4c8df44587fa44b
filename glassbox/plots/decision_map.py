"""Decision regions of a model over 2-D inputs, with its training points and weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.colors import CATEGORIES, cyclic_colors
from glassbox.plots.embedding_panel import draw_panel_title
from glassbox.plots.figure_title import LEFT, LEGEND_LINE, layout_title
from glassbox.plots.style import (
    NOTE_SIZE,
    TEXT_COLOR,
    Style,
    house_style,
    new_figure,
    place_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

GAP, ABOVE, TICKS = 0.34, 0.22, 0.3  # inches between panels, above them, and for ticks
TINT = 0.68  # fraction of white in the color of a region
CENTER: Style = {
    "marker": "x",
    "markersize": 6.0,
    "markeredgewidth": 1.3,
    "color": TEXT_COLOR,
}
DIRECTION: Style = {"linewidth": 1.1, "color": TEXT_COLOR}
POINT: Style = {"marker": "o", "markeredgecolor": "white", "markeredgewidth": 0.8}
# The fifth class is red, as the paper's point in the middle; light blue and blue are far apart.
PALETTE = [CATEGORIES[index] for index in (0, 1, 2, 3, 5, 7, 6, 4, 8, 9, 10, 11)]
DIAMETER = 10.0  # of a training point, in typographic points; a center on top stays visible


def decision_maps(
    regions: ArrayLike,
    *,
    window: ArrayLike,
    points: ArrayLike,
    targets: ArrayLike,
    weights: ArrayLike | None = None,
    by_distance: bool = True,
    seeds: Sequence[int] | None = None,
    accuracy: ArrayLike | None = None,
    title: str = "",
) -> Figure:
    """Draw decision regions over the plane, a panel for each seed.

    After the harmonic-loss paper's Figure 1: a disc has the color of its class, a region that of
    the class the model predicts there. The rows of the weight are crosses if the head compares by
    distance, since they are the class centers then, and otherwise lines from the origin.

    Args:
        regions: (S, R, R) predicted class numbers, the lowest row first.
        window: Left, right, lower and upper end of the map, (4,), in the inputs' unit.
        points: (S, N, 2), in the inputs' unit.
        targets: (S, N) class numbers.
        weights: (S, C, 2) rows of the head's weight in the same plane; None draws none.
        by_distance: Whether the head compares by distance.
        seeds: S seeds, named above the panels.
        accuracy: (S,) fraction of the points that is classified correctly, named beside the seeds.
        title: Figure title.

    Raises:
        ValueError: Shapes do not fit.
    """
    from matplotlib import rc_context

    maps = as_floats(regions, "regions", (None, None, None), "(seeds, rows, columns)")
    count = len(maps)
    limits = as_floats(window, "window", (4,), "(left, right, low, high)")
    places = as_floats(points, "points", (count, None, 2), "(seeds, points, 2)")
    size = places.shape[1]
    classes = as_floats(targets, "targets", (count, size), "(seeds, points)").astype(np.int64)
    rows = None
    if weights is not None:
        rows = as_floats(weights, "weights", (count, None, 2), "(seeds, classes, 2)")
    correct = None if accuracy is None else as_floats(accuracy, "accuracy", (count,), "(seeds,)")
    if seeds is not None and len(seeds) != count:
        raise ValueError(f"seeds has {len(seeds)} entries, expected {count}.")

    panel = {1: 3.4, 2: 2.8, 3: 2.4}.get(count, 1.9)
    width = max(4.2, 2 * LEFT + TICKS + count * (panel + GAP) - GAP)
    heading = layout_title(title, [], width - 2 * LEFT)
    top = heading.height + LEGEND_LINE + ABOVE
    with rc_context(house_style(box=True)):
        figure = new_figure(width, top + panel + TICKS)
        heading.draw(figure)
        handles = legend_handles(rows is not None, by_distance)
        heading.draw_legend(figure, handles)
        for index in range(count):
            left = LEFT + TICKS + index * (panel + GAP)
            axes = place_axes(figure, left, top, panel, panel)
            draw_decision_map(
                axes,
                maps[index].astype(np.int64),
                limits,
                places[index],
                classes[index],
                None if rows is None else rows[index],
                by_distance,
            )
            parts = [] if seeds is None else [f"seed {seeds[index]}"]
            parts += [] if correct is None else [f"{100 * correct[index]:.0f} % correct"]
            draw_panel_title(axes, " · ".join(parts), None, panel)
    return figure


def draw_decision_map(
    axes: Axes,
    regions: NDArray[np.int64],
    window: Floats,
    points: Floats,
    targets: NDArray[np.int64],
    weights: Floats | None,
    by_distance: bool,
) -> None:
    """Draw one seed's map: regions below weights below points, and class centers on top.

    Args:
        axes: Drawn into, its limits become the window's.
        regions: (R, R) class numbers, the lowest row first.
        window: Left, right, lower and upper end, (4,).
        points: (N, 2).
        targets: (N,) class numbers.
        weights: (C, 2) rows of the head's weight; None draws none.
        by_distance: Whether the weights are class centers; otherwise they are directions.
    """
    from matplotlib.ticker import MaxNLocator

    last = max(int(regions.max()), int(targets.max(initial=0)))
    colors = class_colors(last + 1)
    tints = (1 - TINT) * colors + TINT
    axes.imshow(
        tints[regions], extent=tuple(window), origin="lower", interpolation="nearest", zorder=0
    )
    for row in weights if weights is not None and not by_distance else ():
        axes.plot([0.0, row[0]], [0.0, row[1]], zorder=2, label="weight", **DIRECTION)
    for place, target in zip(points, targets, strict=True):
        axes.plot(*place, color=colors[target], markersize=DIAMETER, zorder=3, **POINT)
    if weights is not None and by_distance:
        axes.plot(*weights.T, linestyle="", zorder=4, label="weight", **CENTER)
    axes.set(xlim=window[:2], ylim=window[2:], aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=True))
    axes.tick_params(labelsize=NOTE_SIZE - 0.5, length=2, pad=2)


def class_colors(count: int) -> Floats:
    """A color (R, G, B) for each of `count` classes; cyclic for more than twelve."""
    from matplotlib.colors import to_rgb

    if count > len(PALETTE):
        return np.asarray(cyclic_colors(np.arange(count) / count)[:, :3])
    return np.array([to_rgb(color) for color in PALETTE[:count]])


def legend_handles(has_weights: bool, by_distance: bool) -> list[Line2D]:
    """Handles of a legend to a map: points, regions, and centers or directions of weights."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D(
            [], [], linestyle="", color="#7a7a7a", markersize=7, label="training point", **POINT
        ),
        Patch(color="#d9d9d9", label="region of its class"),
    ]
    if has_weights and by_distance:
        handles.append(Line2D([], [], linestyle="", label="class center (weight)", **CENTER))
    elif has_weights:
        handles.append(Line2D([], [], label="weight, from the origin", **DIRECTION))
    return handles
