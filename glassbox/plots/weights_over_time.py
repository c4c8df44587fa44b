"""The rows of W at a few steps of a training, above the loss curve that these steps lie on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.feature_legend import (
    LEGEND_HEIGHT,
    draw_feature_legend,
    feature_style,
    name_panel,
)
from glassbox.plots.feature_panel import draw_features
from glassbox.plots.feature_projection import principal_frame, views_of
from glassbox.plots.feature_vectors import mean_norm
from glassbox.plots.figure_title import LEFT, layout_title
from glassbox.plots.style import LINE, Style, house_style, new_figure, place_axes
from glassbox.plots.training_history import LOSS_COLOR, as_training_history, draw_loss

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARGIN, RIGHT, GAP, ABOVE = 0.82, 0.34, 0.1, 0.36  # inches around and between the panels
BELOW, CURVE, AXIS = 0.28, 1.35, 0.5  # inches: from panels to curve, the curve, its axis
MAX_PANELS = 8


def weights_over_time(
    weights: ArrayLike,
    steps: ArrayLike,
    *,
    losses: ArrayLike,
    loss_steps: ArrayLike,
    title: str = "",
) -> Figure:
    """Draw one model's rows at recorded steps, each tied to its place on the loss curve.

    After Figure 7 of the feature-geometry paper. All panels have the scale and frame of the last
    weights, so that growth and movement are visible. If more than eight steps were recorded, eight
    are drawn, evenly in their logarithms.

    Args:
        weights: (T, N, H) at T steps, row i the direction of the feature at angle 2πi/N.
        steps: (T,) optimizer steps, increasing.
        losses: (K,), in the loss's own units; those that are not finite are left out.
        loss_steps: (K,) optimizer steps of the losses, increasing.
        title: Figure title.

    Raises:
        ValueError: Shapes do not fit, or steps do not increase.
    """
    from matplotlib import rc_context

    history = as_training_history(weights, steps, losses, loss_steps)
    chosen = history.choose(MAX_PANELS)
    count, (_, size, hidden) = len(chosen), history.weights.shape
    panel = float(np.clip(10.4 / count - GAP, 1.2, 2.0))
    width = MARGIN + max(count * (panel + GAP) - GAP, 3.6) + RIGHT
    notes = ["all panels on one scale", "norm: the rows' mean length", history.late_start]
    heading = layout_title(title, notes, width - 2 * LEFT)
    top = heading.height + ABOVE
    curve = top + panel + BELOW
    height = curve + CURVE + AXIS + LEGEND_HEIGHT - 0.08
    style = feature_style(size, panel=panel)
    frame = principal_frame(history.last_rows)
    with rc_context(house_style()):
        figure = new_figure(width, height)
        heading.draw(figure)
        axes = place_axes(figure, MARGIN, curve, width - MARGIN - RIGHT, CURVE)
        marked = history.steps[chosen]
        draw_loss(axes, history, marked)
        dots: Style = {
            "linestyle": "",
            "marker": "o",
            "markersize": 4.5,
            "markeredgecolor": "white",
        }
        axes.plot(
            marked, history.loss_at(marked), color=LOSS_COLOR, clip_on=False, zorder=4, **dots
        )
        for place, index in enumerate(chosen.tolist()):
            left = MARGIN + place * (panel + GAP)
            picture = place_axes(figure, left, top, panel, panel)
            rows = history.weights[index]
            draw_features(picture, rows, frame, views_of(hidden)[0], style, reach=history.reach)
            name_panel(picture, f"step {history.steps[index]:,.0f}", mean_norm(rows), panel)
            _tie(axes, (left + panel / 2) / width, 1 - (top + panel) / height, marked[place])
        draw_feature_legend(figure, style, left=MARGIN)
    return figure


def _tie(axes: Axes, x: float, y: float, step: float) -> None:
    """Draw a thin line from a place in the figure (fractions) to a step on the curve's axes."""
    from matplotlib.patches import ConnectionPatch

    figure = axes.figure
    axes.axvline(step, color=LINE, linewidth=0.6, zorder=1, clip_on=False)
    line = ConnectionPatch(
        (x, y),
        (step, 1.0),
        coordsA=figure.transFigure,
        coordsB=axes.get_xaxis_transform(),
        color=LINE,
        linewidth=0.6,
    )
    figure.add_artist(line)
