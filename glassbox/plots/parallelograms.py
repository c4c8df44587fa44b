"""Word pairs drawn as parallelograms by ascending loss, one row per model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.colors import model_colors
from glassbox.plots.figure_title import layout_title
from glassbox.plots.label_placement import DIGIT_WIDTH
from glassbox.plots.style import (
    LABEL_SIZE,
    LINE,
    MUTED_COLOR,
    NOTE_SIZE,
    POINTS_PER_INCH,
    TEXT_COLOR,
    house_style,
    new_figure,
    place_axes,
    write_above,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL, GAP, LEFT = 1.62, 0.1, 0.12  # inches
ABOVE, ROW = 0.46, 2.16  # inches above a panel, and of a row
WORD_SIZE = 6.8
SIDES = ((0, 1), (1, 3), (3, 2), (2, 0))  # of i, j, m, n: both relations, and what joins them
BARS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class RankedParallelograms(NamedTuple):
    """R of one model's quadruples, by ascending loss."""

    corners: ArrayLike  # (R, 4, 2) of i, j, m, n, in units of σ
    words: Sequence[Sequence[str]]  # R times four
    losses: ArrayLike  # (R,)
    ranks: Sequence[int]  # R, from 0


def ranked_parallelograms(
    models: Mapping[str, RankedParallelograms], *, title: str = "", note: str = ""
) -> Figure:
    """Draw the quadruples of each model in a row, with their words, rank and loss.

    After the bottom of Figure 6 of the harmonic-loss paper. Each panel has its own scale, shown by
    a bar in units of σ, since the best parallelograms are often small ones.

    Args:
        models: Quadruples by model name.
        title: Figure title.
        note: A line below the title.

    Raises:
        ValueError: There is none, or corners, words, losses and ranks differ in number.
    """
    from matplotlib import rc_context

    if not models or not any(len(model.ranks) for model in models.values()):
        raise ValueError("models is empty: there is no parallelogram to draw.")
    columns = max(len(model.ranks) for model in models.values())
    width = max(2 * LEFT + columns * (PANEL + GAP) - GAP, 4.5)
    heading = layout_title(title, [note], width - 2 * LEFT)
    height = heading.height + len(models) * ROW + 0.1
    colors = model_colors(list(models))
    with rc_context(house_style(box=True)):
        figure = new_figure(width, height)
        heading.draw(figure, LEFT)
        for row, ((name, model), color) in enumerate(zip(models.items(), colors, strict=True)):
            count = len(model.ranks)
            corners = as_floats(model.corners, f"corners of {name}", (count, 4, 2), "(R, 4, 2)")
            losses = as_floats(model.losses, f"losses of {name}", (count,), "(R,)")
            if len(model.words) != count or any(len(words) != 4 for words in model.words):
                raise ValueError(
                    f"words of {name} must be four for each of {count} parallelograms."
                )
            top = heading.height + row * ROW + ABOVE
            for column in range(count):
                axes = place_axes(figure, LEFT + column * (PANEL + GAP), top, PANEL, PANEL)
                caption = f"rank {model.ranks[column]:,} · {losses[column]:.2g}"
                axes.set_title(caption, size=NOTE_SIZE, pad=3)
                _draw(axes, corners[column], list(model.words[column]), color)
                if column == 0:
                    write_above(axes, name, offset=17, size=LABEL_SIZE, color=color, bold=True)
    return figure


def _draw(axes: Axes, corners: Floats, words: list[str], color: str) -> None:
    center = (corners.min(axis=0) + corners.max(axis=0)) / 2
    reach = float(np.ptp(corners, axis=0).max()) / 2 or 1.0
    half = reach / 0.62  # room for words
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.set_xlim(center[0] - half, center[0] + half)
    axes.set_ylim(center[1] - half, center[1] + half)
    for a, b in SIDES:
        relation = (a, b) in ((0, 1), (3, 2))
        axes.plot(
            *corners[[a, b]].T,
            color=color if relation else LINE,
            linewidth=1.3 if relation else 0.8,
            zorder=2 if relation else 1,
        )
    axes.scatter(corners[:, 0], corners[:, 1], s=9, color=TEXT_COLOR, zorder=3)
    points = (corners - center) / half * PANEL / 2 * POINTS_PER_INCH
    unit = 2 * half / (PANEL * POINTS_PER_INCH)
    for (x, y), word in zip(place_words(points, words), words, strict=True):
        axes.text(
            center[0] + x * unit,
            center[1] + y * unit,
            word,
            size=WORD_SIZE,
            ha="center",
            va="center_baseline",
            zorder=2.5,
            bbox={
                "boxstyle": "square,pad=0.05",
                "facecolor": "white",
                "alpha": 0.7,
                "linewidth": 0,
            },
        )
    bar = max((length for length in BARS if length <= half), default=BARS[0])
    x, y = center[0] - 0.94 * half, center[1] - 0.93 * half
    axes.plot([x, x + bar], [y, y], color=MUTED_COLOR, linewidth=1.0, solid_capstyle="butt")
    axes.text(
        x + bar + 0.04 * half, y, f"{bar:g} σ", size=5.8, color=MUTED_COLOR, va="center_baseline"
    )


def place_words(points: Floats, words: Sequence[str]) -> Floats:
    """Centers of four words (4, 2) beside their points (4, 2), in typographic points.

    Each word in turn takes the place around its point that covers the least of words placed
    before, of dots and of sides, and the nearest of equally good places. The origin is the panel's
    center, and no word leaves the panel.
    """
    half = PANEL / 2 * POINTS_PER_INCH
    height = 1.15 * WORD_SIZE
    along = np.linspace(0, 1, 25)[:, None]
    sides = np.concatenate([(1 - along) * points[a] + along * points[b] for a, b in SIDES])
    places = np.zeros((len(points), 2))
    boxes: list[Floats] = []
    for index in np.argsort(-np.hypot(*(points - points.mean(axis=0)).T), kind="stable"):
        extent = np.array([DIGIT_WIDTH * WORD_SIZE * len(words[index]), height]) / 2
        room = np.maximum(half - extent - 2, 0)
        best = np.inf
        for ring in (1.0, 1.8, 2.6, 3.6):
            for angle in np.arange(16) * np.pi / 8:
                direction = np.array([np.cos(angle), np.sin(angle)])
                reach = np.array([extent[0] + 3.5, 0.5 * height + 3.0 + (ring - 1) * height])
                place = np.clip(points[index] + direction * reach, -room, room)
                covers = sum(
                    float(np.prod(np.maximum(extent + other[1] - abs(place - other[0]), 0)))
                    for other in boxes
                )
                dots = (abs(points - place) < extent + 2.0).all(axis=1).sum()
                lines = (abs(sides - place) < extent).all(axis=1).sum()
                cost = 3 * covers + 60 * dots + 1.5 * lines + 6 * ring
                if cost < best - 1e-9:
                    best, places[index] = cost, place
        boxes.append(np.stack([places[index], extent]))
    return places
