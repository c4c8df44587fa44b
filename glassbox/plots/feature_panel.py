"""One panel of circular features as points about the origin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from glassbox.plots.arrays import Floats
from glassbox.plots.feature_arrays import clusters_of
from glassbox.plots.feature_legend import FeatureStyle
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

MAX_CLUSTERS = 20
CLUSTERED = 0.75  # fraction of the features in tight clusters from which on these are counted


def draw_features(
    axes: Axes,
    rows: Floats,
    frame: Floats,
    view: View,
    style: FeatureStyle,
    *,
    reach: float | None = None,
    shown: int | None = None,
    counts: bool = False,
) -> None:
    """Draw rows (N, H) as points in a square panel about the origin, each joined to the next.

    Args:
        axes: Drawn into.
        rows: One row per feature; the panel says so if one is not finite.
        frame: (H, 3), see `principal_frame`.
        view: Direction of view.
        style: Style of all panels.
        reach: From the origin to the panel's edge; by default a little beyond the longest row.
        shown: Draw the first `shown` features in color and the others as gray dots.
        counts: Write at every tight cluster how many features it holds, if most are in one.
    """
    axes.set(xticks=[], yticks=[], xlim=(-1, 1), ylim=(-1, 1), aspect="equal")
    axes.spines[:].set_visible(False)
    if not np.isfinite(rows).all():
        axes.text(0, 0, "not finite", ha="center", va="center", size=NOTE_SIZE, color=MUTED_COLOR)
        return
    longest = float(np.linalg.norm(rows, axis=1).max())
    reach = (1.16 * longest if reach is None else reach) or 1.0
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    for direction in np.eye(3)[: min(3, rows.shape[1])]:  # the frame, as long as the longest row
        (x, y), _ = (part[0] for part in project(direction[None] * longest, np.eye(3), view))
        axes.plot([-x, x], [-y, y], color=GRID_COLOR, linewidth=0.7, zorder=1)
    places, near = project(rows, frame, view)
    count = len(rows) if shown is None else min(shown, len(rows))
    if count < len(rows):
        axes.scatter(
            places[count:, 0],
            places[count:, 1],
            s=3,
            color=LINE,
            linewidths=0,
            zorder=1.5,
            clip_on=False,
        )
    _join(axes, places[:count], style, closed=count == len(rows))
    _draw_points(axes, places, near, style, count)
    if counts:
        _write_counts(axes, rows[:count], places[:count], reach, style.panel)


def _join(axes: Axes, places: Floats, style: FeatureStyle, *, closed: bool) -> None:
    """Draw lines from each feature to the next, and from the last to the first if closed."""
    from matplotlib.collections import LineCollection

    path = np.vstack([places, places[:1]]) if closed else places
    lines = LineCollection(
        list(np.stack([path[:-1], path[1:]], axis=1)),
        colors=style.colors[: len(path) - 1],
        linewidths=0.7,
        alpha=0.45,
        zorder=2,
    )
    axes.add_collection(lines, autolim=False)


def _draw_points(axes: Axes, places: Floats, near: Floats, style: FeatureStyle, count: int) -> None:
    """Draw the first `count` features, nearer ones larger and on top."""
    extent = np.ptp(near)
    depth = (near - near.min()) / extent if extent > 1e-9 else np.full(len(near), 0.5)
    size = float(np.clip(22 * style.panel / np.sqrt(len(places)), 2.2, 6.0))
    diameter = size * (0.75 + 0.5 * depth)
    order = np.argsort(near, kind="stable")
    order = order[order < count]
    axes.scatter(
        places[order, 0],
        places[order, 1],
        s=diameter[order] ** 2,
        c=style.colors[order],
        edgecolors="white",
        linewidths=0.25,
        zorder=3,
        clip_on=False,
    )


def counted_clusters(rows: Floats) -> list[NDArray[np.int64]]:
    """The rows' indices in each tight cluster of rows (N, H); none unless most are in a few."""
    clusters = clusters_of(rows) if rows.any() and np.isfinite(rows).all() else []
    few = len(clusters) <= MAX_CLUSTERS and sum(map(len, clusters)) >= CLUSTERED * len(rows)
    return clusters if few else []


def _write_counts(axes: Axes, rows: Floats, places: Floats, reach: float, panel: float) -> None:
    """Write the sizes of tight clusters beside them, clear of one another and of other clusters."""
    from matplotlib.patheffects import withStroke

    clusters = counted_clusters(rows)
    if not clusters:
        return
    centers = np.stack([places[indices].mean(axis=0) for indices in clusters])
    unit = panel * POINTS_PER_INCH / (2 * reach)  # typographic points per unit of length
    texts = [f"{len(indices)}" for indices in clusters]
    offsets = spread_labels(centers * unit, texts, size=NOTE_SIZE - 0.5)
    for text, center, offset in zip(texts, centers, offsets, strict=True):
        axes.annotate(
            text,
            tuple(center),
            xytext=tuple(offset),
            textcoords="offset points",
            ha="center",
            va="center_baseline",
            size=NOTE_SIZE - 0.5,
            color=TEXT_COLOR,
            annotation_clip=False,
            path_effects=[withStroke(linewidth=1.6, foreground="white")],  # legible over lines
            zorder=4,
        )
