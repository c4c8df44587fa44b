"""An animation of one training as a list of pictures: the rows of W beside the loss curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.feature_legend import (
    LEGEND_HEIGHT,
    draw_feature_legend,
    feature_style,
    name_panel,
)
from glassbox.plots.feature_panel import draw_features
from glassbox.plots.feature_projection import VIEWS, principal_frame, views_of
from glassbox.plots.figure_title import LEFT, layout_title
from glassbox.plots.style import house_style, new_figure, place_axes
from glassbox.plots.training_history import LOSS_COLOR, as_training_history, draw_loss

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

PANEL, CURVE_LEFT, CURVE, RIGHT = 2.6, 0.75, 2.7, 0.34  # inches, from left to right
ABOVE, AXIS = 0.34, 0.44  # inches above the panels, and of the curve's axis
MAX_FRAMES = 60
DOTS_PER_INCH = 100


def weight_frames(
    weights: ArrayLike,
    steps: ArrayLike,
    *,
    losses: ArrayLike,
    loss_steps: ArrayLike,
    title: str = "",
) -> list[NDArray[np.uint8]]:
    """The pictures of an animation: rows of W at a step, and the step's place on the loss curve.

    After the animations behind Figure 7 of the feature-geometry paper. Scale and frame are those of
    `weights_over_time`. The curve has no mark before its first loss. With Pillow they become a
    file:

        first, *others = [Image.fromarray(frame) for frame in weight_frames(...)]
        first.save("training.gif", save_all=True, append_images=others, duration=100, loop=0)

    Args:
        weights: (T, N, H) at T steps, row i the direction of the feature at angle 2πi/N.
        steps: (T,) optimizer steps, increasing.
        losses: (K,).
        loss_steps: (K,) optimizer steps of the losses, increasing.
        title: Above each picture.

    Returns:
        At most 60 arrays (height, width, 3), red, green and blue from 0 to 255, of about 0.8 MB
        each; evenly spaced if more steps were recorded.

    Raises:
        ValueError: Shapes do not fit, or steps do not increase.
    """
    from matplotlib import rc_context

    history = as_training_history(weights, steps, losses, loss_steps)
    size, hidden = history.weights.shape[1:]
    views = views_of(hidden)
    left = LEFT + len(views) * PANEL
    width = left + CURVE_LEFT + CURVE + RIGHT
    heading = layout_title(title, [history.late_start], width - 2 * LEFT)
    top = heading.height + ABOVE
    style = feature_style(size, panel=PANEL)
    frame = principal_frame(history.last_rows)
    last = len(history.steps) - 1
    indices = np.unique(np.linspace(0, last, min(MAX_FRAMES, last + 1)).round().astype(int))
    pictures: list[NDArray[np.uint8]] = []
    with rc_context(house_style() | {"figure.dpi": DOTS_PER_INCH}):
        figure = new_figure(width, top + PANEL + LEGEND_HEIGHT)
        heading.draw(figure)
        draw_feature_legend(figure, style, left=LEFT)
        curve = place_axes(figure, left + CURVE_LEFT, top + 0.1, CURVE, PANEL - 0.1 - AXIS)
        draw_loss(curve, history, history.steps[indices])
        (dot,) = curve.plot([], [], "o", color=LOSS_COLOR, markersize=6, clip_on=False, zorder=4)
        panels = [
            place_axes(figure, LEFT + place * PANEL, top, PANEL, PANEL)
            for place in range(len(views))
        ]
        canvas = cast("FigureCanvasAgg", figure.canvas)
        for index in indices.tolist():
            for axes, view in zip(panels, views, strict=True):
                axes.clear()
                rows = history.weights[index]
                draw_features(axes, rows, frame, view, style, reach=history.reach)
                name = f"step {history.steps[index]:,.0f}" if axes is panels[0] else ""
                name_panel(axes, name, VIEWS[view], PANEL)
            step = history.steps[index : index + 1]
            dot.set_data(step, history.loss_at(step))
            canvas.draw()
            pictures.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    return pictures
