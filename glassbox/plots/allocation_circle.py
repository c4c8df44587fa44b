"""The words of one text as circles and lines: how a layer's neurons are allocated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.allocation_legend import (
    KEY_HEIGHT,
    KEY_WIDTH,
    NEGATIVE,
    POSITIVE,
    Lines,
    choose_lines,
    circle_radii,
    cosines_of,
    draw_key,
    line_gaps,
    line_style,
    rank_correlation,
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
    fit_word,
    prepare_words,
    text_width,
    word_font,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WORD_SIZE = 7.0  # typographic points
DOT = 0.003  # capacity of a circle of a point's radius


def allocation_circle(
    capacity: ArrayLike,
    products: ArrayLike,
    words: Sequence[str],
    *,
    important: ArrayLike | None = None,
    important_name: str = "important: top 30 % by VMASK",
    lines_per_word: int = 2,
    limit: float = 0.1,
    title: str = "",
) -> Figure:
    """Draw each word as a circle as large as its capacity, and interfering words close together.

    After Figure 2(b) of the SAFR paper. A line joins two words whose representations h point in
    similar (red) or opposite (blue) directions; the stronger, the shorter, wider and darker. The
    paper does not define the strength: here it is |cosine| = |h_i·h_j| / (‖h_i‖ ‖h_j‖). The words
    are laid out such that the gap between two circles grows with 1 − |cosine|, as far as a plane
    allows (weighted stress, deterministic); how far it does is written above the picture.

    Args:
        capacity: (T,) in 0 to 1; a word that is not finite is a dashed ring, one of 0 a dot.
        products: (T, T) inner products h_i·h_j of one layer, the squared norms on the diagonal.
        words: T words of the text, in order; the first 60 are drawn.
        important: (T,) bool, which words are marked.
        important_name: What the marks mean, for the key.
        lines_per_word: A pair gets a line if it is among the strongest so many of either word, so
            that every word shows what it interferes with most.
        limit: Absolute cosine below which a pair gets no line.
        title: Of the figure.

    Raises:
        ValueError: There is no word, shapes differ, a capacity or the limit lies outside 0 to 1,
            or the products are not those of vectors (asymmetric, or larger than the norms allow).
    """
    from matplotlib import rc_context

    size = len(words)
    shown = prepare_words(words, important)
    areas = as_capacity(capacity, "capacity", size)
    if not 0 <= limit <= 1:
        raise ValueError(f"limit is {limit:g}, expected an absolute cosine from 0 to 1.")
    if lines_per_word < 1:
        raise ValueError(f"lines_per_word is {lines_per_word}, expected 1 or more.")
    cosines = cosines_of(as_floats(products, "products", (size, size), "(words, words)"))
    count = len(shown.texts)
    areas, cosines = areas[:count], cosines[:count, :count]
    lines = choose_lines(cosines, lines_per_word, limit)
    radii = circle_radii(areas)
    labels = [
        fit_word(text, WORD_SIZE, bold=bool(bold))
        for text, bold in zip(shown.texts, shown.important, strict=True)
    ]
    boxes, inside = _boxes(labels, radii, shown.important)
    points = stress_layout(_distances(cosines, radii), boxes)
    low, high = (points - boxes[:, :2]).min(axis=0), (points + boxes[:, 2:]).max(axis=0)
    spread = (high - low) / POINTS_PER_INCH + 0.3
    width = max(float(spread[0]), KEY_WIDTH)
    picture = max(float(spread[1]), 1.2)
    rule = f"each word's {lines_per_word} strongest with |cosine| ≥ {limit:g}"
    heading = layout_title(title, _notes(shown, lines, rule, points, areas), width - 0.3)
    with rc_context(house_style() | {"text.parse_math": False}):
        figure = new_figure(width, heading.height + picture + KEY_HEIGHT)
        heading.draw(figure, 0.15)
        axes = place_axes(figure, left=0, right=0, bottom=KEY_HEIGHT, top=heading.height)
        axes.set_axis_off()
        # A unit of the data is a typographic point, so that circles keep their sizes.
        middle = (low + high) / 2
        reach = np.array([width, picture]) * POINTS_PER_INCH / 2
        axes.set_xlim(middle[0] - reach[0], middle[0] + reach[0])
        axes.set_ylim(middle[1] - reach[1], middle[1] + reach[1])
        _draw_lines(axes, points, lines)
        _draw_circles(axes, points, areas, radii, shown)
        _write_words(axes, points, radii, labels, inside, shown)
        draw_key(figure, important_name if shown.important.any() else "")
    return figure


def _distances(cosines: Floats, radii: Floats) -> Floats:
    """Wanted distances (T, T) of centers: the gap between two rims grows with 1 − |cosine|."""
    strength = np.abs(np.nan_to_num(cosines))
    return np.asarray(radii[:, None] + radii[None] + line_gaps(strength, len(radii)))


def _boxes(labels: list[str], radii: Floats, bold: NDArray[np.bool_]) -> tuple[Floats, list[bool]]:
    """What circle and word cover, (T, 4) as in `stress_layout`, and which words stand inside."""
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


def _notes(shown: Words, lines: Lines, rule: str, points: Floats, areas: Floats) -> list[str]:
    drawn, total = len(lines.pairs), len(points) * (len(points) - 1) // 2
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
            said = f"{order:.2f}".replace("-", "−")
            notes.append(f"rank correlation of length and |cosine|: {said}")
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
        if known and area < DOT:  # no area is left to see
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
