"""An animation of one training as a list of pictures: the rows of W beside the loss curve."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.feature_legend import draw_feature_key, feature_look, name_panel
from glassbox.plots.feature_panel import draw_features
from glassbox.plots.feature_projection import VIEWS, View, principal_frame
from glassbox.plots.figure_title import layout_title
from glassbox.plots.style import house_style, new_figure, place_axes
from glassbox.plots.training_history import LOSS_COLOR, as_training_history, draw_loss

MARGIN, PANEL, LEFT, CURVE, CAPTION, AXIS = 0.15, 2.6, 0.75, 2.7, 0.34, 0.5  # inches
KEY = 0.3  # inches below the panels, for the key to the colors
RIGHT = 0.34  # of the curve, for half of its last tick's number


def weight_frames(
    weights: ArrayLike,
    steps: ArrayLike,
    *,
    losses: ArrayLike,
    loss_steps: ArrayLike,
    circular: bool = True,
    views: tuple[View, ...] | None = None,
    most_frames: int = 60,
    dots_per_inch: int = 100,
    title: str = "",
) -> list[NDArray[np.uint8]]:
    """The pictures of an animation: rows of W at a step, and where on the loss curve that is.

    After the animations behind Figure 7 of the feature-geometry paper. Scale and frame are those of
    `weights_over_time`. The curve has no mark before its first loss. With Pillow they become a
    file:

        first, *others = [Image.fromarray(frame) for frame in weight_frames(...)]
        first.save("training.gif", save_all=True, append_images=others, duration=100, loop=0)

    Args:
        weights: (T, N, H) at T steps, row i the direction of feature i.
        steps: (T,) optimizer steps, rising.
        losses: (K,).
        loss_steps: (K,) optimizer steps of the losses, rising.
        circular: Feature i lies at angle 2πi/N of a circle; see `feature_vectors`.
        views: Side by side; by default "oblique" and "top", or, with fewer than three hidden
            neurons, "top".
        most_frames: Of more recorded steps so many are taken, evenly in their order.
        dots_per_inch: Of the pictures.
        title: Above each picture.

    Returns:
        At most `most_frames` arrays (height, width, 3), red, green and blue from 0 to 255; about
        0.8 MB each at 100 dots per inch.

    Raises:
        ValueError: Shapes do not fit, steps do not rise, or no frame or dot is asked for.
    """
    from matplotlib import rc_context

    course = as_training_history(weights, steps, losses, loss_steps)
    if most_frames < 1 or dots_per_inch < 1:
        raise ValueError(
            f"most_frames is {most_frames} and dots_per_inch {dots_per_inch}; both must be at "
            f"least 1."
        )
    size, hidden = course.weights.shape[1:]
    chosen: tuple[View, ...] = views or (("top",) if hidden < 3 else ("oblique", "top"))
    width = MARGIN + len(chosen) * PANEL + LEFT + CURVE + RIGHT
    heading = layout_title(title, [course.unmeasured], width - 2 * MARGIN)
    top = heading.height + CAPTION
    height = top + PANEL + KEY
    look = feature_look(size, circular=circular, panel=PANEL)
    frame = principal_frame(course.last_rows, circular=circular)
    count = min(most_frames, len(course.steps))
    indices = np.unique(np.linspace(0, len(course.steps) - 1, count).round().astype(int))
    pictures: list[NDArray[np.uint8]] = []
    with rc_context(house_style() | {"figure.dpi": dots_per_inch}):
        figure = new_figure(width, height)
        heading.draw(figure, MARGIN)
        left = MARGIN + len(chosen) * PANEL + LEFT
        curve = place_axes(figure, left=left, right=RIGHT, top=top + 0.1, bottom=AXIS + KEY - 0.05)
        draw_feature_key(figure, look, left=MARGIN + 0.62, bottom=0.12)
        draw_loss(curve, course, course.steps[indices])
        (dot,) = curve.plot([], [], "o", color=LOSS_COLOR, markersize=6, clip_on=False, zorder=4)
        panels = [
            place_axes(
                figure,
                left=MARGIN + place * PANEL,
                right=width - MARGIN - (place + 1) * PANEL,
                top=top,
                bottom=KEY,
            )
            for place in range(len(chosen))
        ]
        canvas: Any = figure.canvas
        for index in indices.tolist():
            for axes, view in zip(panels, chosen, strict=True):
                axes.clear()
                draw_features(axes, course.weights[index], frame, view, look, reach=course.reach)
                name = f"step {course.steps[index]:,.0f}" if axes is panels[0] else ""
                name_panel(axes, name, VIEWS[view], PANEL)
            step = course.steps[index : index + 1]
            dot.set_data(step, course.loss_at(step))
            canvas.draw()
            pictures.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    return pictures
