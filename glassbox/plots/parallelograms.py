"""Word pairs drawn as parallelograms, from the best to the worse, one row a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.colors import model_colors
from glassbox.plots.label_placement import DIGIT_WIDTH
from glassbox.plots.style import (
    LINE,
    MUTED_COLOR,
    NOTE_SIZE,
    POINTS_PER_INCH,
    TEXT_COLOR,
    house_style,
    new_figure,
    place_axes,
    wrap_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = 1.62  # inches
WORD_SIZE = 6.8
SIDES = ((0, 1), (1, 3), (3, 2), (2, 0))  # of i, j, m, n: both relations, and what joins them
BARS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class RankedParallelograms(NamedTuple):
    """Some of one model's quadruples by ascending loss."""

    corners: ArrayLike  # (R, 4, 2) of i, j, m, n, in units of σ
    words: Sequence[Sequence[str]]  # R times four
    losses: ArrayLike  # (R,)
    ranks: Sequence[int]  # R, from 0


def ranked_parallelograms(
    models: Mapping[str, RankedParallelograms], *, title: str = "", note: str = ""
) -> Figure:
    """Draw the quadruples of each model in a row, with their words, rank and loss.

    After the bottom of Figure 6 of the harmonic-loss paper. Each panel has its own scale, told by a
    bar in units of σ, since the best parallelograms are often small ones.

    Args:
        models: By the models' names; all with the same number of quadruples, or fewer.
        title: Of the figure.
        note: A line below the title.

    Raises:
        ValueError: There is none, or corners, words, losses and ranks differ in number.
    """
    from matplotlib import rc_context

    if not models or not any(len(model.ranks) for model in models.values()):
        raise ValueError("there is no parallelogram to draw.")
    columns = max(len(model.ranks) for model in models.values())
    left, gap, above = 0.12, 0.1, 0.4
    width = max(2 * left + columns * PANEL + (columns - 1) * gap, 4.5)
    heading = wrap_title(title, width - 2 * left)
    notes = wrap_title(note, width - 2 * left, NOTE_SIZE)
    top = 0.1 + 0.19 * len(heading) + 0.14 * len(notes) + 0.06
    row_height = above + PANEL + 0.14
    height = top + len(models) * row_height + 0.1
    with rc_context(house_style(box=True)):
        figure = new_figure(width, height)
        y = 1 - 0.1 / height
        figure.text(left / width, y, "\n".join(heading), va="top", size=10.0)
        y -= 0.19 * len(heading) / height
        figure.text(left / width, y, "\n".join(notes), va="top", size=NOTE_SIZE, color=MUTED_COLOR)
        for row, ((name, model), color) in enumerate(
            zip(models.items(), model_colors(list(models)), strict=True)
        ):
            count = len(model.ranks)
            corners = as_floats(model.corners, f"corners of {name}", (count, 4, 2), "(R, 4, 2)")
            losses = as_floats(model.losses, f"losses of {name}", (count,), "(R,)")
            if len(model.words) != count or any(len(words) != 4 for words in model.words):
                raise ValueError(f"{name} needs four words for each of its {count} parallelograms.")
            start = top + row * row_height
            figure.text(
                left / width,
                1 - (start + 0.1) / height,
                name,
                color=color,
                weight="bold",
                va="center",
            )
            for column in range(count):
                x = left + column * (PANEL + gap)
                axes = place_axes(
                    figure,
                    left=x,
                    right=width - x - PANEL,
                    bottom=height - start - above - PANEL,
                    top=start + above,
                )
                axes.set_title(
                    f"rank {model.ranks[column]:,} · {losses[column]:.2g}", size=NOTE_SIZE, pad=3
                )
                _draw(axes, corners[column], list(model.words[column]), color)
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

    Each word in turn takes the place around its point that covers the least: of words that are
    placed already, of dots, of sides, and then the nearest one. The panel's center is the origin,
    and no word leaves it.
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
