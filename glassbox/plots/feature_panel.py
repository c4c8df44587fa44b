"""One panel of features as directions: points or arrows about the origin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from glassbox.plots.arrays import Floats
from glassbox.plots.feature_arrays import clusters_of
from glassbox.plots.feature_legend import Look
from glassbox.plots.feature_projection import View, project
from glassbox.plots.label_placement import spread_labels
from glassbox.plots.style import (
    GRID_COLOR,
    LINE,
    MUTED_COLOR,
    NOTE_SIZE,
    POINTS_PER_INCH,
    TEXT_COLOR,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NUMBERS, MOST_CLUSTERS = 12, 20
CLUSTERED = 0.75  # share of the features in tight clusters from which on these are counted


def draw_features(
    axes: Axes,
    rows: Floats,
    frame: Floats,
    view: View,
    look: Look,
    *,
    reach: float | None = None,
    shown: int | None = None,
    counts: bool = False,
) -> None:
    """Draw rows (N, H) as points or arrows in a square panel about the origin.

    Args:
        axes: Drawn into.
        rows: A row a feature; not finite ones leave a word instead.
        frame: (H, 3), see `principal_frame`.
        view: From where.
        look: Of all panels.
        reach: From the origin to the panel's edge; by default a little beyond the longest row.
        shown: Draw the first so many in color and the others as gray dots.
        counts: Write at every tight cluster how many features it holds, if most are in one.
    """
    axes.set(xticks=[], yticks=[], aspect="equal")
    for side in ("left", "bottom", "top", "right"):
        axes.spines[side].set_visible(False)
    axes.set(xlim=(-1, 1), ylim=(-1, 1))
    if not np.isfinite(rows).all():
        axes.text(0, 0, "not finite", ha="center", va="center", size=NOTE_SIZE, color=MUTED_COLOR)
        return
    longest = float(np.linalg.norm(rows, axis=1).max())
    if reach is None:
        reach = 1.16 * longest
    reach = reach if reach > 0 else 1.0
    places, near = project(rows, frame, view)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    _draw_axes(axes, frame, view, longest)
    if not look.circular:
        _draw_unit_circle(axes, reach)
    last = len(rows) if shown is None else min(shown, len(rows))
    if last < len(rows):
        axes.scatter(
            places[last:, 0],
            places[last:, 1],
            s=3,
            color=LINE,
            linewidths=0,
            zorder=1.5,
            clip_on=False,
        )
    if look.circular:
        _join(axes, places[:last], look, closed=last == len(rows))
    if look.arrows:
        _draw_arrows(axes, places[:last], look.colors[:last], reach)
    else:
        _draw_points(axes, places, near, look, last)
    if counts:
        _write_counts(axes, rows[:last], places[:last], reach, look.panel)


def _draw_axes(axes: Axes, frame: Floats, view: View, longest: float) -> None:
    """The axes of the frame through the origin, as long as the longest row."""
    for direction in np.eye(3)[: min(3, len(frame))]:
        tip, _ = project(direction[None] * longest, np.eye(3), view)
        if np.linalg.norm(tip) > 1e-9:
            (x, y) = tip[0]
            axes.plot([-x, x], [-y, y], color=GRID_COLOR, linewidth=0.7, zorder=1)


def _draw_unit_circle(axes: Axes, reach: float) -> None:
    """Length 1, that of a feature which is recovered whole; from every side it is a circle."""
    from matplotlib.patches import Circle

    if 0.2 * reach < 1.0 < reach:
        axes.add_patch(
            Circle((0, 0), 1.0, fill=False, edgecolor=LINE, linewidth=0.6, linestyle=(0, (1, 2)))
        )


def _join(axes: Axes, places: Floats, look: Look, *, closed: bool) -> None:
    """Lines from each feature to the next, and from the last to the first if all are there."""
    from matplotlib.collections import LineCollection

    path = np.vstack([places, places[:1]]) if closed else places
    if len(path) < 2:
        return
    segments = np.stack([path[:-1], path[1:]], axis=1)
    axes.add_collection(
        LineCollection(
            list(segments),
            colors=look.colors[: len(segments)],
            linewidths=0.7,
            alpha=0.45,
            zorder=2,
        ),
        autolim=False,
    )


def _draw_points(axes: Axes, places: Floats, near: Floats, look: Look, last: int) -> None:
    """Points of the first features up to `last`, the nearer the larger, the nearest on top."""
    spread = np.ptp(near)
    depth = (near - near.min()) / spread if spread > 1e-9 else np.full(len(near), 0.5)
    size = float(np.clip(22 * look.panel / np.sqrt(len(places)), 2.2, 6.0))
    diameter = size * (0.75 + 0.5 * depth)
    order = np.argsort(near, kind="stable")
    order = order[order < last]
    axes.scatter(
        places[order, 0],
        places[order, 1],
        s=diameter[order] ** 2,
        c=look.colors[order],
        edgecolors="white",
        linewidths=0.25,
        zorder=3,
        clip_on=False,
    )


def _draw_arrows(axes: Axes, places: Floats, colors: Floats, reach: float) -> None:
    lengths = np.linalg.norm(places, axis=1)
    for index in np.argsort(-lengths, kind="stable").tolist():
        if lengths[index] < 0.02 * reach:
            axes.scatter(places[index, 0], places[index, 1], s=7, color=colors[index], zorder=3)
            continue
        axes.annotate(
            "",
            xy=(places[index, 0], places[index, 1]),
            xytext=(0, 0),
            arrowprops={
                "arrowstyle": "-|>,head_width=0.16,head_length=0.32",
                "color": colors[index],
                "linewidth": 1.2,
                "shrinkA": 0,
                "shrinkB": 0,
            },
            zorder=3,
            annotation_clip=False,
        )
        if len(places) <= MOST_NUMBERS and lengths[index] > 0.15 * reach:
            x, y = places[index] / lengths[index]
            axes.annotate(
                f"{index}",
                (places[index, 0], places[index, 1]),
                xytext=(5.5 * x, 5.5 * y),
                textcoords="offset points",
                ha="center",
                va="center",
                size=NOTE_SIZE - 0.5,
                annotation_clip=False,
            )


def counted_clusters(rows: Floats) -> list[NDArray[np.int64]]:
    """The rows' indices in each tight cluster of rows (N, H); none unless most are in a few."""
    found = clusters_of(rows) if rows.any() and np.isfinite(rows).all() else []
    few = len(found) <= MOST_CLUSTERS and sum(map(len, found)) >= CLUSTERED * len(rows)
    return found if few else []


def _write_counts(axes: Axes, rows: Floats, places: Floats, reach: float, panel: float) -> None:
    """The sizes of tight clusters beside them, clear of one another and of other clusters."""
    from matplotlib.patheffects import withStroke

    clusters = counted_clusters(rows)
    if not clusters:
        return
    centers = np.stack([places[indices].mean(axis=0) for indices in clusters])
    unit = panel * POINTS_PER_INCH / (2 * reach)  # points on the paper, of a length of 1
    texts = [f"{len(indices)}" for indices in clusters]
    offsets = spread_labels(centers * unit, texts, size=NOTE_SIZE - 0.5)
    for text, center, offset in zip(texts, centers, offsets, strict=True):
        axes.annotate(
            text,
            (center[0], center[1]),
            xytext=(offset[0], offset[1]),
            textcoords="offset points",
            ha="center",
            va="center_baseline",
            size=NOTE_SIZE - 0.5,
            color=TEXT_COLOR,
            annotation_clip=False,
            path_effects=[withStroke(linewidth=1.6, foreground="white")],  # on lines
            zorder=4,
        )
