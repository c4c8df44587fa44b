"""One panel of an embedding figure: edges, points and the labels that fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glassbox.plots.arrays import Floats, finite_rows
from glassbox.plots.colors import POINT, text_on
from glassbox.plots.label_placement import beside, compact, uncovered
from glassbox.plots.style import (
    LINE,
    MUTED_COLOR,
    NOTE_SIZE,
    POINTS_PER_INCH,
    TEXT_COLOR,
    shorten,
    write_above,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LABELS = 45  # more points than this are drawn without text
MIN_DISTANCE = 0.74  # between the centers of labeled discs, in diameters
UNLABELED = 0.4  # diameter of a point without a label among labeled discs, in disc diameters
MIN_PANEL_WITH_TEXT = 2.2  # inches; in smaller panels long labels would need type under 6 pt


class Marks(NamedTuple):
    """How the points of all panels are drawn; lengths in typographic points."""

    mode: str  # "inside" (numbers on discs), "beside" (text next to dots) or "none"
    labels: list[str]
    diameter: float
    panel: float


def draw_panel_title(axes: Axes, name: str, extra: str | None, panel: float) -> None:
    """Write the seed's line above the panel of `panel` inches, and the extra text below it."""
    axes.set_title(name, loc="center", size=NOTE_SIZE + 0.3, y=1.0, pad=4 if extra is None else 12)
    if extra is not None:
        write_above(axes, shorten(extra, panel, NOTE_SIZE - 0.5), align="center", offset=4)


def _frame(points: Floats, marks: Marks) -> tuple[Floats, float]:
    """Center (2,) and half-width of a panel that holds all finite points with room for discs."""
    finite = points[finite_rows(points)]
    if len(finite) == 0:
        return np.zeros(2), 1.0
    low, high = finite.min(axis=0), finite.max(axis=0)
    reach = float((high - low).max()) / 2
    border = marks.diameter / 2 + (7 if marks.mode == "beside" else 4)
    half = marks.panel / 2
    return (low + high) / 2, reach * half / (half - border) if reach > 0 else 1.0


def choose_marks(points: Floats, labels: Sequence[str] | None, panel: float) -> Marks:
    """Choose one style for all panels: labels on discs, labels beside dots, or dots alone.

    points (S, P, 2) and the panel's side in typographic points. Labels of one or two characters
    are drawn on discs, provided that at least half of them are legible (points may coincide);
    longer ones are drawn beside their dots in large panels.
    """
    size = points.shape[1]
    texts = [compact(str(label)) for label in labels] if labels is not None else []
    dot = float(np.clip(0.32 * panel / np.sqrt(size), 3.6, 7.5))
    plain = Marks("none", texts, dot, panel)
    if not texts or size > MAX_LABELS:
        return plain
    if max(len(text) for text in texts) > 2:
        roomy = panel >= MIN_PANEL_WITH_TEXT * POINTS_PER_INCH
        return Marks("beside", texts, min(dot, 6.0), panel) if roomy else plain
    discs = Marks("inside", texts, float(np.clip(0.41 * panel / np.sqrt(size), 8.5, 15.0)), panel)
    gap = MIN_DISTANCE * discs.diameter
    legible = sum(int(uncovered(_in_points(seed, discs), gap).sum()) for seed in points)
    return discs if legible >= 0.5 * finite_rows(points).sum() else plain


def _in_points(points: Floats, marks: Marks) -> Floats:
    center, half = _frame(points, marks)
    return (points - center) / half * marks.panel / 2


def draw_panel(
    axes: Axes, points: Floats, colors: Floats | None, edges: NDArray[np.int64], marks: Marks
) -> int:
    """Draw the points (P, 2) in their colors (P, 4) above the edges (M, 2), in a square frame.

    Returns:
        How many of the finite points are drawn without a label.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba

    center, half = _frame(points, marks)
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.set_xlim(center[0] - half, center[0] + half)
    axes.set_ylim(center[1] - half, center[1] + half)
    finite = finite_rows(points)
    if not finite.any():
        axes.text(
            0, 0, "no finite points", ha="center", va="center", size=NOTE_SIZE, color=MUTED_COLOR
        )
        return 0
    if len(edges):
        whole = edges[finite[edges].all(axis=1)]
        axes.add_collection(
            LineCollection(list(points[whole]), colors=LINE, linewidths=0.6, zorder=1),
            autolim=False,
        )
    if colors is None:
        colors = np.tile(np.array(to_rgba(POINT)), (len(points), 1))
    labeled = np.zeros(len(points), dtype=bool)
    diameters = np.full(len(points), marks.diameter)
    positions = _in_points(points, marks)
    if marks.mode == "inside":
        labeled = uncovered(positions, MIN_DISTANCE * marks.diameter)
        diameters[~labeled] *= UNLABELED  # a blank disc would look like a missing label
    order = np.argsort(labeled, kind="stable")  # labeled discs on top
    order = order[finite[order]]
    # A single size lets a PDF store one disc and its places, a quarter of the file.
    areas = np.unique(diameters[order] ** 2)
    axes.scatter(
        points[order, 0],
        points[order, 1],
        s=areas if len(areas) == 1 else diameters[order] ** 2,
        c=colors[order],
        zorder=2,
        clip_on=False,
        alpha=1.0 if marks.mode == "inside" else 0.85,
        edgecolors="white",
        linewidths=0.5 if marks.diameter > 5 else 0.25,
    )
    if marks.mode == "inside":
        text_colors = text_on(colors)
        for index in np.flatnonzero(labeled).tolist():
            axes.text(
                points[index, 0],
                points[index, 1],
                marks.labels[index],
                size=0.56 * marks.diameter,
                color=text_colors[index],
                ha="center",
                va="center_baseline",
                zorder=3,
            )
        return int(finite.sum() - labeled.sum())
    if marks.mode == "beside":
        size = 6.5
        placed = beside(
            positions, marks.labels, size=size, diameter=marks.diameter, half_width=marks.panel / 2
        )
        unit = 2 * half / marks.panel  # of the data, in typographic points
        for index, x, y in placed:
            axes.text(
                center[0] + x * unit,
                center[1] + y * unit,
                marks.labels[index],
                size=size,
                color=TEXT_COLOR,
                ha="center",
                va="center_baseline",
                zorder=3,
            )
        return int(finite.sum()) - len(placed)
    return int(finite.sum())
