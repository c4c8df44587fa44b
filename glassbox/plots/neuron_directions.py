"""On which neurons each feature's direction lies: does the hidden layer's basis mean anything?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.colors import MISSING
from glassbox.plots.feature_arrays import as_members
from glassbox.plots.feature_legend import name_panel
from glassbox.plots.figure_title import layout_title
from glassbox.plots.style import LABEL_SIZE, NOTE_SIZE, house_style, new_figure, place_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = "RdBu_r"
MARGIN, LEFT, GAP, CAPTION, FOOT, WIDEST = 0.15, 0.42, 0.34, 0.5, 0.95, 11.0  # inches


def neuron_directions(
    weights: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    threshold: float = 0.5,
    title: str = "",
) -> Figure:
    """Draw Ŵ_i = W_i/‖W_i‖ of every feature over the hidden neurons, one panel a model.

    Where a ReLU follows the hidden layer, a row with one strong entry is a feature that has a
    neuron to itself. Above each panel stands the features' mean alignment, max_k Ŵ_ik².

    Args:
        weights: (N, H) or (S, N, H), row i the direction of feature i.
        names: S texts above the panels.
        threshold: Features whose norm is not above it are gray, and do not count in the mean.
        title: Of the figure.

    Raises:
        ValueError: Shapes do not fit.
    """
    from matplotlib import colormaps, rc_context
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    members = as_members(weights, names)
    count, size, hidden = members.weights.shape
    norms = np.linalg.norm(members.weights, axis=2, keepdims=True)  # (S, N, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        shown = norms > threshold
        directions = np.where(shown, members.weights / norms, np.nan)
    cell = float(np.clip(2.4 / size, 0.06, 0.24))
    panel, side = max(1.1, hidden * cell), size * cell
    columns = max(1, min(count, int((WIDEST - 2 * MARGIN - LEFT) / (panel + GAP))))
    columns = -(-count // -(-count // columns))  # rows of about the same length
    rows = -(-count // columns)
    width = max(2 * MARGIN + LEFT + columns * (panel + GAP) - GAP, 4.6)
    note = f"Ŵ_i, a row a feature · gray: norm up to {threshold:g} · mean of the largest Ŵ_ik²"
    heading = layout_title(title, [note], width - 2 * MARGIN)
    height = heading.height + rows * (CAPTION + side) + FOOT
    scale = Normalize(-1, 1)
    with rc_context(house_style(box=True)):
        figure = new_figure(width, height)
        heading.draw(figure, MARGIN)
        for index in range(count):
            row, column = divmod(index, columns)
            x = MARGIN + LEFT + column * (panel + GAP)
            top = heading.height + row * (CAPTION + side) + CAPTION
            axes = place_axes(
                figure, left=x, right=width - x - panel, top=top, bottom=height - top - side
            )
            axes.imshow(
                np.ma.masked_invalid(directions[index]),
                cmap=colormaps[COLORS].with_extremes(bad=MISSING),
                norm=scale,
                aspect="auto",
                interpolation="nearest",
            )
            chosen = shown[index, :, 0]
            best = np.square(directions[index][chosen]).max(axis=1)
            caption = f"alignment {best.mean():.2f}" if len(best) else "none represented"
            name_panel(axes, members.names[index], caption, panel)
            step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 10**9) if size <= 6 * s)
            axes.set_yticks(range(0, size, step))
            axes.tick_params(length=2, labelsize=NOTE_SIZE - 1, labelleft=column == 0)
            axes.set_xticks([])
            if column == 0:
                axes.set_ylabel("feature", size=LABEL_SIZE)
            if row == rows - 1:
                axes.set_xlabel(f"{hidden} neurons", size=NOTE_SIZE)
        key = figure.add_axes(((MARGIN + LEFT) / width, 0.4 / height, 2.2 / width, 0.09 / height))
        bar = figure.colorbar(ScalarMappable(scale, COLORS), cax=key, orientation="horizontal")
        bar.outline.set_visible(False)
        bar.set_ticks([-1, 0, 1], labels=["−1", "0", "1"])
        key.tick_params(labelsize=NOTE_SIZE - 0.5, length=2)
        key.set_xlabel("Ŵ_ik of neuron k", size=NOTE_SIZE)
    return figure
