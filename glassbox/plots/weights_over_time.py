"""The rows of W at a few steps of a training, above the loss curve that these steps lie on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.feature_legend import draw_feature_key, feature_look, name_panel
from glassbox.plots.feature_panel import draw_features
from glassbox.plots.feature_projection import View, principal_frame
from glassbox.plots.figure_title import layout_title
from glassbox.plots.style import LINE, house_style, new_figure, place_axes
from glassbox.plots.training_history import LOSS_COLOR, as_training_history, draw_loss

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARGIN, LEFT, RIGHT, GAP, CAPTION = 0.15, 0.82, 0.34, 0.1, 0.36  # inches
BRIDGE, CURVE, AXIS, KEY = 0.28, 1.35, 0.5, 0.26  # inches: panels to curve, curve, its axis, key
MOST_PANELS = 8


def weights_over_time(
    weights: ArrayLike,
    steps: ArrayLike,
    *,
    losses: ArrayLike,
    loss_steps: ArrayLike,
    circular: bool = True,
    view: View | None = None,
    title: str = "",
) -> Figure:
    """Draw one model's rows at recorded steps, each tied to its place on the loss curve.

    After Figure 7 of the feature-geometry paper. All panels have one scale and one frame, that of
    the last weights, so that growth and movement are seen as they are. Of more than eight recorded
    steps eight are drawn, evenly in their logarithms.

    Args:
        weights: (T, N, H) at T steps, row i the direction of feature i.
        steps: (T,) optimizer steps, rising.
        losses: (K,), in the loss's own units; those that are not finite are left out.
        loss_steps: (K,) optimizer steps of the losses, rising.
        circular: Feature i lies at angle 2πi/N of a circle; see `feature_vectors`.
        view: From where; by default "oblique", or "top" with fewer than three hidden neurons.
        title: Of the figure.

    Raises:
        ValueError: Shapes do not fit, or steps do not rise.
    """
    from matplotlib import rc_context

    course = as_training_history(weights, steps, losses, loss_steps)
    chosen = course.choose(MOST_PANELS)
    count, (_, size, hidden) = len(chosen), course.weights.shape
    shown: View = view or ("oblique" if hidden > 2 else "top")
    panel = float(np.clip(10.4 / count - GAP, 1.2, 2.0))
    across = count * (panel + GAP) - GAP
    width = LEFT + max(across, 3.6) + RIGHT
    notes = ["all panels on one scale", "norm: the rows' mean length", course.unmeasured]
    heading = layout_title(title, notes, width - 2 * MARGIN)
    top = heading.height + CAPTION
    curve = top + panel + BRIDGE
    height = curve + CURVE + AXIS + KEY
    look = feature_look(size, circular=circular, panel=panel)
    frame = principal_frame(course.last_rows, circular=circular)
    with rc_context(house_style()):
        figure = new_figure(width, height)
        heading.draw(figure, MARGIN)
        axes = place_axes(figure, left=LEFT, right=RIGHT, bottom=AXIS + KEY, top=curve)
        marked = course.steps[chosen]
        draw_loss(axes, course, marked)
        heights = course.loss_at(marked)
        axes.plot(
            marked,
            heights,
            color=LOSS_COLOR,
            linestyle="",
            marker="o",
            markersize=4.5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            clip_on=False,
            zorder=4,
        )
        for place, index in enumerate(chosen.tolist()):
            left = LEFT + place * (panel + GAP)
            picture = place_axes(
                figure, left=left, right=width - left - panel, top=top, bottom=height - top - panel
            )
            rows = course.weights[index]
            draw_features(picture, rows, frame, shown, look, reach=course.reach)
            norm = np.linalg.norm(rows, axis=1).mean()
            caption = f"norm {norm:.2g}" if np.isfinite(norm) else ""
            name_panel(picture, f"step {course.steps[index]:,.0f}", caption, panel)
            _tie(axes, (left + panel / 2) / width, 1 - (top + panel) / height, marked[place])
        draw_feature_key(figure, look, left=LEFT + 0.62, bottom=0.12)
    return figure


def _tie(axes: Axes, x: float, y: float, step: float) -> None:
    """A thin line from a panel's foot, in shares of the figure, to its step on the curve's axes."""
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
