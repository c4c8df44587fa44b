"""The words of one text as circles and lines: how a layer's dimensions are allocated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.allocation_legend import (
    LEGEND_HEIGHT,
    LEGEND_WIDTH,
    NEGATIVE,
    POSITIVE,
    circle_radii,
    draw_legend,
    line_style,
)
from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.figure_title import layout_title
from glassbox.plots.stress_layout import stress_layout
from glassbox.plots.style import MUTED_COLOR, POINTS_PER_INCH, house_style, new_figure, place_axes
from glassbox.plots.word_labels import (
    IMPORTANT,
    ORDINARY,
    Words,
    as_capacity,
    prepare_words,
    text_width,
    word_font,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES_PER_WORD = 2
MIN_COSINE = 0.1  # in magnitude, of a line
WORD_SIZE = 7.0  # typographic points
MIN_GAP, MAX_GAP = 5.0, 32.0  # typographic points between rims, see `_distances`
DOT = 0.003  # capacity of a circle with a radius of one point
ROUNDING = 1e-2  # tolerance for products of low precision


class Lines(NamedTuple):
    """The lines of the picture, strongest last."""

    pairs: NDArray[np.int64]  # (L, 2)
    cosines: Floats  # (L,)


def allocation_circle(
    capacity: ArrayLike,
    products: ArrayLike,
    words: Sequence[str],
    *,
    important: ArrayLike | None = None,
    important_name: str = "important: top 30 % by VMASK",
    title: str = "",
) -> Figure:
    """Draw each word as a circle as large as its capacity, and interfering words close together.

    After Figure 2(b) of the SAFR paper. A line joins two words whose representations h point in
    similar (red) or opposite (blue) directions; stronger lines are shorter, wider and darker. The
    paper does not define the strength: here it is |cosine| = |h_i·h_j| / (‖h_i‖ ‖h_j‖). A pair has
    a line if it is among the two strongest of either word, and at least 0.1. The gap between two
    circles grows with 1 − |cosine|, as far as a plane allows (weighted stress, deterministic); the
    rank correlation of the two is written above the picture.

    Args:
        capacity: (T,) in 0 to 1; nan is drawn as a dashed ring, 0 as a dot.
        products: (T, T) inner products h_i·h_j of one layer, the squared norms on the diagonal.
        words: T words of the text, in order; the first 60 are drawn.
        important: (T,) bool, which words are marked.
        important_name: What the marks mean, for the legend.
        title: Figure title.

    Raises:
        ValueError: There is no word, shapes differ, a capacity lies outside 0 to 1, or the products
            are not those of vectors (asymmetric, or larger than the norms allow).
    """
    from matplotlib import rc_context

    size = len(words)
    shown = prepare_words(words, important)
    areas = as_capacity(capacity, "capacity", size)
    cosines = cosines_of(as_floats(products, "products", (size, size), "(words, words)"))
    count = len(shown.texts)
    areas, cosines = areas[:count], cosines[:count, :count]
    lines = choose_lines(cosines)
    radii = circle_radii(areas)
    labels = shown.fit(WORD_SIZE)
    boxes, inside = _boxes(labels, radii, shown.important)
    points = stress_layout(_distances(cosines, radii), boxes)
    low, high = (points - boxes[:, :2]).min(axis=0), (points + boxes[:, 2:]).max(axis=0)
    extent = (high - low) / POINTS_PER_INCH + 0.3
    width, picture = max(float(extent[0]), LEGEND_WIDTH), max(float(extent[1]), 1.2)
    heading = layout_title(title, _notes(shown, lines, points, areas), width - 0.3)
    with rc_context(house_style() | {"text.parse_math": False}):
        figure = new_figure(width, heading.height + picture + LEGEND_HEIGHT)
        heading.draw(figure)
        axes = place_axes(figure, 0, heading.height, width, picture)
        axes.set_axis_off()
        # A unit of the data is a typographic point, so that circles keep their sizes.
        middle = (low + high) / 2
        reach = np.array([width, picture]) * POINTS_PER_INCH / 2
        axes.set_xlim(middle[0] - reach[0], middle[0] + reach[0])
        axes.set_ylim(middle[1] - reach[1], middle[1] + reach[1])
        _draw_lines(axes, points, lines)
        _draw_circles(axes, points, areas, radii, shown)
        _write_words(axes, points, radii, labels, inside, shown)
        draw_legend(figure, important_name if shown.important.any() else "")
    return figure


def cosines_of(products: Floats) -> Floats:
    """Cosines (T, T) of inner products (T, T); nan on the diagonal and where undefined.

    Raises:
        ValueError: The products are not those of vectors.
    """
    norms = np.sqrt(np.maximum(np.diag(products), 0.0))
    scale = norms[:, None] * norms[None]
    known = np.isfinite(products) & np.isfinite(scale) & (scale > 0)
    cosines = np.full(products.shape, np.nan)
    cosines[known] = products[known] / scale[known]
    both = known & known.T
    if (np.diag(products) < 0).any():
        raise ValueError("products has a negative squared norm on its diagonal.")
    if (np.abs(cosines - cosines.T)[both] > ROUNDING).any():
        raise ValueError("products is not symmetric, expected inner products h_i·h_j.")
    if (np.abs(cosines[known]) > 1 + ROUNDING).any():
        raise ValueError(
            "products exceeds what the norms on its diagonal allow, expected inner products "
            "h_i·h_j (not their squares)."
        )
    np.fill_diagonal(cosines, np.nan)
    return np.clip(cosines, -1.0, 1.0)


def choose_lines(cosines: Floats) -> Lines:
    """The pairs that are among the strongest of either word; of equal ones the earlier word's.

    cosines (T, T) are nan where there is none.
    """
    strength = np.abs(np.nan_to_num(cosines))
    rank = np.argsort(np.argsort(-strength, axis=1, kind="stable"), axis=1, kind="stable")
    chosen = (rank < LINES_PER_WORD) & (strength >= MIN_COSINE) & np.isfinite(cosines)
    rows, columns = np.nonzero(np.triu(chosen | chosen.T, 1))
    order = np.argsort(strength[rows, columns], kind="stable")
    pairs = np.column_stack([rows, columns])[order]
    return Lines(pairs, cosines[pairs[:, 0], pairs[:, 1]])


def rank_correlation(one: Floats, two: Floats) -> float:
    """Spearman's rank correlation of two arrays (N,); nan where one is constant."""
    import torch

    from glassbox.metrics._rank_correlation import spearman

    return float(spearman(torch.from_numpy(one).double(), torch.from_numpy(two).double()))


def _distances(cosines: Floats, radii: Floats) -> Floats:
    """Target distances (T, T) of centers: the gap between two rims grows with 1 − |cosine|.

    It is 5 points at a cosine of ±1, and 32 √T more at 0.
    """
    strength = np.abs(np.nan_to_num(cosines))
    gaps = MIN_GAP + MAX_GAP * np.sqrt(len(radii)) * (1.0 - strength)
    return np.asarray(radii[:, None] + radii[None] + gaps)


def _boxes(labels: list[str], radii: Floats, bold: NDArray[np.bool_]) -> tuple[Floats, list[bool]]:
    """Boxes (T, 4) around circle and word as in `stress_layout`, and which words fit inside."""
    boxes, inside = [], []
    for label, radius, strong in zip(labels, radii.tolist(), bold.tolist(), strict=True):
        half = text_width(label, WORD_SIZE, bold=strong) / 2
        fits = half + 1 < np.sqrt(max(radius**2 - (0.5 * WORD_SIZE) ** 2, 0.0))
        below = 0.0 if fits else 1.25 * WORD_SIZE
        reach = max(radius, 2.5)
        wide = reach if fits else max(reach, half)
        boxes.append([wide + 1.5, reach + below + 1.5, wide + 1.5, reach + 1.5])
        inside.append(bool(fits))
    return np.array(boxes), inside


def _notes(shown: Words, lines: Lines, points: Floats, areas: Floats) -> list[str]:
    drawn, total = len(lines.pairs), len(points) * (len(points) - 1) // 2
    rule = f"each word's {LINES_PER_WORD} strongest with |cosine| ≥ {MIN_COSINE:g}"
    notes = [shown.note, f"lines: {rule}, {drawn} of {total} pairs"]
    if not np.isfinite(areas).all():
        notes.append("dashed ring: capacity not a finite number")
    if (areas < DOT).any():
        notes.append("dot: capacity 0")
    if drawn > 2:
        (first, second), radii = lines.pairs.T, circle_radii(areas)
        lengths = np.hypot(*(points[first] - points[second]).T) - radii[first] - radii[second]
        order = rank_correlation(lengths, np.abs(lines.cosines))
        if np.isfinite(order):
            number = f"{order:.2f}".replace("-", "−")
            notes.append(f"rank correlation of length and |cosine|: {number}")
    return notes


def _draw_lines(axes: Axes, points: Floats, lines: Lines) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba_array

    if not len(lines.pairs):
        return
    widths, opacity = line_style(np.abs(lines.cosines))
    names = [POSITIVE if cosine > 0 else NEGATIVE for cosine in lines.cosines]
    axes.add_collection(
        LineCollection(
            list(points[lines.pairs]),
            colors=to_rgba_array(names, opacity),
            linewidths=widths,
            capstyle="butt",
            zorder=1,
        ),
        autolim=False,
    )


def _draw_circles(axes: Axes, points: Floats, areas: Floats, radii: Floats, shown: Words) -> None:
    from matplotlib.patches import Circle

    for point, area, radius, marked in zip(points, areas, radii, shown.important, strict=True):
        known = bool(np.isfinite(area))
        axes.add_patch(
            Circle(
                (float(point[0]), float(point[1])),
                float(radius) if known else 3.0,
                facecolor=(IMPORTANT if marked else ORDINARY) if known else "white",
                edgecolor="white" if known else MUTED_COLOR,
                linestyle="-" if known else (0, (2, 1.5)),
                linewidth=0.7,
                zorder=2,
            )
        )
        if known and area < DOT:  # a circle would be invisible
            axes.plot(*point, marker="o", markersize=1.6, color=MUTED_COLOR, zorder=2)


def _write_words(
    axes: Axes,
    points: Floats,
    radii: Floats,
    labels: list[str],
    inside: list[bool],
    shown: Words,
) -> None:
    from matplotlib.patheffects import withStroke

    for index, (x, y) in enumerate(points.tolist()):
        down = 0.0 if inside[index] else max(float(radii[index]), 2.5) + 0.65 * WORD_SIZE
        font = word_font(bool(shown.important[index]))
        if inside[index]:
            font["color"] = "black"
        axes.text(
            x,
            y - down,
            labels[index],
            size=WORD_SIZE,
            ha="center",
            va="center",
            zorder=3,
            path_effects=[] if inside[index] else [withStroke(linewidth=1.6, foreground="white")],
            **font,
        )
