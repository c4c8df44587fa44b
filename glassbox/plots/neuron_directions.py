"""The neurons that each feature's direction lies on, to see if the hidden basis is special."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.colors import MISSING, draw_color_scale
from glassbox.plots.feature_arrays import as_members
from glassbox.plots.feature_legend import name_panel
from glassbox.plots.figure_title import titled_figure
from glassbox.plots.style import (
    LABEL_SIZE,
    NOTE_SIZE,
    balanced_columns,
    house_style,
    index_ticks,
    remove_unused,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = "RdBu_r"
GAP, ABOVE, FOOT, MAX_WIDTH = 0.24, 0.42, 0.6, 11.0  # inches


def neuron_directions(
    weights: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    threshold: float = 0.5,
    title: str = "",
) -> Figure:
    """Draw Ŵ_i = W_i/‖W_i‖ of every feature over the hidden neurons, one panel per model.

    Where a ReLU follows the hidden layer, a row with one strong entry is a feature that has a
    neuron to itself. The features' mean alignment, max_k Ŵ_ik², is written above each panel.

    Args:
        weights: (N, H) or (S, N, H), row i the direction of feature i.
        names: S texts above the panels.
        threshold: Features whose norm is not above it are gray, and do not count in the mean.
        title: Figure title.

    Raises:
        ValueError: Shapes do not fit.
    """
    from matplotlib import colormaps, rc_context
    from matplotlib.colors import Normalize

    members = as_members(weights, names)
    count, size, hidden = members.weights.shape
    norms = np.linalg.norm(members.weights, axis=2, keepdims=True)  # (S, N, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        represented = norms > threshold
        directions = np.where(represented, members.weights / norms, np.nan)
    cell = float(np.clip(2.4 / size, 0.06, 0.24))  # inches
    panel = max(1.1, hidden * cell)
    columns = balanced_columns(count, int(MAX_WIDTH / (panel + GAP)))
    rows = -(-count // columns)
    note = f"Ŵ_i, a row per feature · gray: norm up to {threshold:g} · mean of the largest Ŵ_ik²"
    scale = Normalize(-1, 1)
    with rc_context(house_style(box=True)):
        width = max(0.75 + columns * (panel + GAP), 4.6)
        figure = titled_figure(width, rows * (size * cell + ABOVE) + 0.25, title, [note], foot=FOOT)
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
        remove_unused(panels, count)
        for index, axes in enumerate(panels.flat[:count]):
            axes.imshow(
                np.ma.masked_invalid(directions[index]),
                cmap=colormaps[COLORS].with_extremes(bad=MISSING),
                norm=scale,
                aspect="auto",
                interpolation="nearest",
            )
            largest = np.square(directions[index][represented[index, :, 0]]).max(axis=1)
            caption = f"alignment {largest.mean():.2f}" if len(largest) else "none represented"
            name_panel(axes, members.names[index], caption, panel)
            axes.set_yticks(index_ticks(size, 6))
            axes.tick_params(length=2, labelsize=NOTE_SIZE - 1)
            axes.set_xticks([])
        for axes in panels[:, 0]:
            axes.set_ylabel("feature", size=LABEL_SIZE)
        for axes in panels[-1]:
            axes.set_xlabel(f"{hidden} neurons", size=NOTE_SIZE)
        ticks = {-1.0: "−1", 0.0: "0", 1.0: "1"}
        draw_color_scale(figure, scale, COLORS, ticks, "Ŵ_ik of neuron k")
    return figure
