"""The first k features of one ring: whether the order of the rows follows the circle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import as_floats
from glassbox.plots.feature_legend import (
    LEGEND_HEIGHT,
    draw_feature_legend,
    feature_style,
    name_panel,
)
from glassbox.plots.feature_panel import draw_features
from glassbox.plots.feature_projection import principal_frame, views_of
from glassbox.plots.figure_title import LEFT, layout_title
from glassbox.plots.style import house_style, new_figure, place_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GAP, ABOVE = 0.14, 0.36  # inches between panels and above them
FRACTIONS = (0.22, 0.5, 0.67, 0.83, 1.0)  # of 90 features these are the paper's 20, 45, 60, 75, 90


def first_features(weights: ArrayLike, *, title: str = "") -> Figure:
    """Draw the first k rows of W in color and the others as gray dots, for up to five k.

    After Figure 4 of the feature-geometry paper. All panels show the same model in the same frame,
    that of all its rows, and on the same scale. The k are the paper's for N = 90.

    Args:
        weights: (N, H), row i the direction of the feature at angle 2πi/N.
        title: Figure title.

    Raises:
        ValueError: The weights are not (N, H).
    """
    from matplotlib import rc_context

    rows = as_floats(weights, "weights", (None, None), "(features, hidden) of one model")
    size, hidden = rows.shape
    counts = sorted({max(1, round(fraction * size)) for fraction in FRACTIONS})
    panel = float(np.clip(10.5 / len(counts) - GAP, 1.6, 2.2))
    width = max(2 * LEFT + len(counts) * (panel + GAP) - GAP, 4.4)
    notes = ["gray: the remaining features", "lines join consecutive features"]
    heading = layout_title(title, notes, width - 2 * LEFT)
    top = heading.height + ABOVE
    style = feature_style(size, panel=panel)
    frame = principal_frame(rows)
    with rc_context(house_style()):
        figure = new_figure(width, top + panel + LEGEND_HEIGHT)
        heading.draw(figure)
        for column, count in enumerate(counts):
            left = LEFT + column * (panel + GAP)
            axes = place_axes(figure, left, top, panel, panel)
            draw_features(axes, rows, frame, views_of(hidden)[0], style, shown=count)
            name_panel(axes, f"first {count}" if count < size else f"all {count}", "", panel)
        draw_feature_legend(figure, style, left=LEFT)
    return figure
