"""How the circle-and-line picture encodes capacity and cosine, and the legend that explains it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from glassbox.plots.arrays import Floats
from glassbox.plots.style import (
    MUTED_COLOR,
    NOTE_SIZE,
    POINTS_PER_INCH,
    TEXT_COLOR,
    Style,
    place_axes,
)
from glassbox.plots.word_labels import IMPORTANT, ORDINARY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RADIUS = 17.0  # typographic points, of a circle of capacity 1
POSITIVE, NEGATIVE = "#C8372D", "#2F6DB5"  # lines by the sign of the inner product
LEGEND_HEIGHT, LEGEND_WIDTH = 0.98, 5.3  # inches
CAPACITIES = (1.0, 0.5, 0.1)  # in the legend
COSINES = (0.9, 0.5, 0.2)  # in the legend


def circle_radii(capacity: Floats) -> Floats:
    """Radii in typographic points of circles whose areas are the capacities (T,); 0 for nan."""
    return np.asarray(RADIUS * np.sqrt(np.clip(np.nan_to_num(capacity), 0.0, 1.0)))


def line_style(strength: Floats) -> tuple[Floats, Floats]:
    """Widths in typographic points and opacities of lines by their absolute cosines (L,)."""
    return 0.4 + 2.4 * strength, 0.25 + 0.65 * strength


def draw_legend(figure: Figure, important_name: str) -> None:
    """Draw the legend at the foot of the figure; without a name no words are marked."""
    width, height = (float(inches) for inches in figure.get_size_inches())
    axes = place_axes(figure, 0, height - LEGEND_HEIGHT, width, LEGEND_HEIGHT)
    axes.set_axis_off()
    axes.set_xlim(0, width * POINTS_PER_INCH)  # a unit is a typographic point
    axes.set_ylim(0, LEGEND_HEIGHT * POINTS_PER_INCH)
    _draw_circles(axes, 11.0, 44.0, important_name)
    _draw_lines(axes, 11.0, 14.0)


def _draw_circles(axes: Axes, x: float, y: float, important_name: str) -> None:
    """Circles of three capacities, and what their colors mean."""
    from matplotlib.patches import Circle

    style: Style = {"edgecolor": "white", "linewidth": 0.7}
    for capacity in CAPACITIES:
        radius = float(circle_radii(np.array(capacity)))
        axes.add_patch(Circle((x + radius, y), radius, facecolor=ORDINARY, **style))
        if radius > NOTE_SIZE:
            _write(axes, x + radius, y, f"{capacity:g}", align="center")
            x += 2 * radius + 4
        else:
            _write(axes, x + 2 * radius + 3, y, f"{capacity:g}")
            x += 2 * radius + 19
    _write(axes, x, y, "area: capacity")
    if important_name:
        axes.add_patch(Circle((x + 76, y), 4.5, facecolor=IMPORTANT, **style))
        _write(axes, x + 83, y, important_name)


def _draw_lines(axes: Axes, x: float, y: float) -> None:
    """Lines of both signs, and of three strengths; only relative lengths have a meaning."""
    for color, text, step in ((POSITIVE, "inner product > 0", 91), (NEGATIVE, "< 0", 54)):
        axes.plot([x, x + 16], [y, y], color=color, linewidth=1.8, solid_capstyle="butt")
        _write(axes, x + 20, y, text)
        x += step
    _write(axes, x, y, "short, wide: |cosine|")
    x += 82
    for cosine in COSINES:
        width, opacity = (float(value) for value in line_style(np.array(cosine)))
        length = 6 + 30 * (1 - cosine)
        style: Style = {"color": MUTED_COLOR, "linewidth": width, "alpha": opacity}
        axes.plot([x, x + length], [y, y], solid_capstyle="butt", **style)
        _write(axes, x + length + 2, y, f"{cosine:g}")
        x += length + 19


def _write(axes: Axes, x: float, y: float, text: str, align: str = "left") -> None:
    axes.text(x, y, text, size=NOTE_SIZE, color=TEXT_COLOR, ha=align, va="center_baseline")
