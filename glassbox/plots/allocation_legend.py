"""How a circle-and-line picture draws capacity and cosine, and the key below it that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glassbox.plots.arrays import Floats
from glassbox.plots.style import MUTED_COLOR, NOTE_SIZE, POINTS_PER_INCH, TEXT_COLOR, place_axes
from glassbox.plots.word_labels import IMPORTANT, ORDINARY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ROUNDING = 1e-2  # by which products of low precision may break the rules of inner products


class Lines(NamedTuple):
    """The lines of the picture, strongest last."""

    pairs: NDArray[np.int64]  # (L, 2)
    cosines: Floats  # (L,)


def cosines_of(products: Floats) -> Floats:
    """Cosines (T, T) of inner products (T, T); nan on the diagonal and where one is undefined."""
    norms = np.sqrt(np.maximum(np.diag(products), 0.0))
    scale = norms[:, None] * norms[None]
    known = np.isfinite(products) & np.isfinite(scale) & (scale > 0)
    cosines = np.full(products.shape, np.nan)
    cosines[known] = products[known] / scale[known]
    both = known & known.T
    if (np.diag(products) < 0).any():
        raise ValueError("products has a negative squared norm on its diagonal.")
    if (np.abs(cosines - cosines.T)[both] > ROUNDING).any():
        raise ValueError("products is not symmetric: inner products are needed, h_i·h_j.")
    if (np.abs(cosines[known]) > 1 + ROUNDING).any():
        raise ValueError(
            "products is larger than the norms on its diagonal allow: inner products are needed, "
            "h_i·h_j, not their squares."
        )
    np.fill_diagonal(cosines, np.nan)
    return np.clip(cosines, -1.0, 1.0)


def choose_lines(cosines: Floats, lines_per_word: int, limit: float) -> Lines:
    """The pairs that are among the strongest few of either word and reach the limit.

    cosines (T, T), nan where there is none; of equally strong pairs the earlier word's comes first.
    """
    strength = np.abs(np.nan_to_num(cosines))
    rank = np.argsort(np.argsort(-strength, axis=1, kind="stable"), axis=1, kind="stable")
    chosen = (rank < lines_per_word) & (strength >= limit) & np.isfinite(cosines)
    rows, columns = np.nonzero(np.triu(chosen | chosen.T, 1))
    order = np.argsort(strength[rows, columns], kind="stable")
    pairs = np.column_stack([rows, columns])[order]
    return Lines(pairs, cosines[pairs[:, 0], pairs[:, 1]])


def rank_correlation(one: Floats, two: Floats) -> float:
    """Spearman's, nan where one of the two (N,) does not vary."""
    import torch

    from glassbox.metrics._rank_correlation import spearman

    return float(spearman(torch.from_numpy(one).double(), torch.from_numpy(two).double()))


RADIUS = 17.0  # typographic points, of a circle of capacity 1
SHORTEST = 5.0  # typographic points between the rims of two circles of cosine 1
MAX_LENGTH = 32.0  # typographic points: by this times √T is the line of cosine 0 longer
POSITIVE, NEGATIVE = "#C8372D", "#2F6DB5"
KEY_HEIGHT = 0.98  # inches
KEY_WIDTH = 5.3  # inches that it needs
AREAS = (1.0, 0.5, 0.1)  # capacities of the key
EXAMPLES = (0.9, 0.5, 0.2)  # cosines


def circle_radii(capacity: Floats) -> Floats:
    """Radii in typographic points such that areas are as the capacities (T,); 0 for nan."""
    return np.asarray(RADIUS * np.sqrt(np.clip(np.nan_to_num(capacity), 0.0, 1.0)))


def line_gaps(strength: Floats, words: int) -> Floats:
    """Wanted lengths of lines between rims, in typographic points, by absolute cosines."""
    return np.asarray(SHORTEST + MAX_LENGTH * np.sqrt(words) * (1.0 - strength))


def line_style(strength: Floats) -> tuple[Floats, Floats]:
    """Widths in typographic points and opacities of lines by their absolute cosines (L,)."""
    return 0.4 + 2.4 * strength, 0.25 + 0.65 * strength


def draw_key(figure: Figure, important_name: str) -> None:
    """Draw the key at the foot of the figure; without a name no words are marked."""
    width, height = (float(inches) for inches in figure.get_size_inches())
    axes = place_axes(figure, left=0, right=0, bottom=0, top=height - KEY_HEIGHT)
    axes.set_axis_off()
    axes.set_xlim(0, width * POINTS_PER_INCH)
    axes.set_ylim(0, KEY_HEIGHT * POINTS_PER_INCH)
    _areas(axes, 11.0, 44.0, important_name)
    _lines(axes, 11.0, 14.0)


def _areas(axes: Axes, x: float, y: float, important_name: str) -> None:
    """Circles of three capacities, and what their colors mean."""
    from matplotlib.patches import Circle

    def disc(at: float, radius: float, color: str) -> None:
        axes.add_patch(Circle((at, y), radius, facecolor=color, edgecolor="white", linewidth=0.7))

    for area in AREAS:
        radius = float(circle_radii(np.array(area)))
        disc(x + radius, radius, ORDINARY)
        if radius > NOTE_SIZE:
            _say(axes, x + radius, y, f"{area:g}", ha="center")
            x += 2 * radius + 4
        else:
            x += 2 * radius + 3
            _say(axes, x, y, f"{area:g}")
            x += 16
    _say(axes, x, y, "area: capacity")
    if important_name:
        disc(x + 76, 4.5, IMPORTANT)
        _say(axes, x + 83, y, important_name)


def _lines(axes: Axes, x: float, y: float) -> None:
    """Lines of both signs, and of three strengths; the lengths are only to be compared."""
    for color, text, step in ((POSITIVE, "inner product > 0", 91), (NEGATIVE, "< 0", 54)):
        axes.plot([x, x + 16], [y, y], color=color, linewidth=1.8, solid_capstyle="butt")
        _say(axes, x + 20, y, text)
        x += step
    _say(axes, x, y, "short, wide: |cosine|")
    x += 82
    for cosine in EXAMPLES:
        wide, opacity = line_style(np.array(cosine))
        length = 6 + 30 * (1 - cosine)
        axes.plot(
            [x, x + length],
            [y, y],
            color=MUTED_COLOR,
            linewidth=float(wide),
            alpha=float(opacity),
            solid_capstyle="butt",
        )
        _say(axes, x + length + 2, y, f"{cosine:g}")
        x += length + 19


def _say(axes: Axes, x: float, y: float, text: str, ha: str = "left") -> None:
    axes.text(x, y, text, size=NOTE_SIZE, color=TEXT_COLOR, ha=ha, va="center_baseline")
