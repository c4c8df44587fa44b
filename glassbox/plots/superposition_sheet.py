"""The features that a model represents, and how much they share their directions with others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats
from glassbox.plots.colors import draw_color_scale
from glassbox.plots.feature_arrays import as_members, interference_of
from glassbox.plots.feature_legend import name_panel
from glassbox.plots.figure_title import titled_figure
from glassbox.plots.style import (
    GRID_COLOR,
    LABEL_SIZE,
    MUTED_COLOR,
    balanced_columns,
    house_style,
    index_ticks,
    remove_unused,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

GAP, ABOVE, FOOT = 0.14, 0.5, 0.6  # inches
MAX_WIDTH, MIN_PANEL, MAX_PANEL = 12.0, 0.86, 1.5  # inches: the figure, a panel's width


def superposition_sheet(
    weights: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    threshold: float = 0.5,
    title: str = "",
) -> Figure:
    """Draw every feature's norm as a bar colored by its interference, one panel per model.

    After the sheet of Toy Models. A bar is as long as ‖W_i‖ and colored by Σ_{j≠i} (Ŵ_i·W_j)²:
    dark where the feature has a direction to itself, bright where it shares it. The line below row
    H - 1 marks as many features as there are hidden neurons, all that fit without superposition.
    Above each panel is the number of represented features, and in brackets how many of them are in
    superposition (an interference above a tenth of the squared norm).

    Args:
        weights: (N, H) or (S, N, H), row i the direction of feature i, the most important first.
        names: S texts above the panels, such as "1−S = 0.1".
        threshold: Norm above which a feature counts as represented.
        title: Figure title.

    Raises:
        ValueError: Shapes do not fit.
    """
    from matplotlib import rc_context
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    members = as_members(weights, names)
    count, size, hidden = members.weights.shape
    norms = np.linalg.norm(members.weights, axis=2)  # (S, N)
    interference = interference_of(members.weights)
    columns = balanced_columns(count, int(MAX_WIDTH / (MIN_PANEL + GAP)))
    rows = -(-count // columns)
    panel = float(np.clip(10.0 / columns - GAP, MIN_PANEL, MAX_PANEL))
    height = float(np.clip(0.105 * size, 0.9, 3.6))
    notes = [
        f"bars: ‖W_i‖ · line: as many features as the {hidden} hidden neurons",
        "n = represented, with those in superposition in brackets",
    ]
    longest = max(1.0, float(norms[np.isfinite(norms)].max(initial=0.0)))
    # Dark violet for no interference, bright yellow for as much as a whole feature.
    colors = LinearSegmentedColormap.from_list("interference", ["#2b2350", "#8b3b6e", "#f2b134"])
    with rc_context(house_style()):
        width = max(0.75 + columns * (panel + GAP), 4.6)
        figure = titled_figure(width, rows * (height + ABOVE) + 0.3, title, notes, foot=FOOT)
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        remove_unused(panels, count)
        for index, axes in enumerate(panels.flat[:count]):
            _draw_bars(axes, norms[index], interference[index], colors)
            axes.set(xlim=(0, 1.04 * longest), ylim=(size - 0.5, -0.5))
            axes.set_xticks([0, 0.5, 1], ["0", "", "1"])
            axes.set_yticks(index_ticks(size, 8))
            axes.tick_params(length=2)
            if hidden < size:
                axes.axhline(hidden - 0.5, color=MUTED_COLOR, linewidth=0.8, linestyle=(0, (3, 2)))
            kept = norms[index] > threshold
            shared = kept & (interference[index] > 0.1 * norms[index] ** 2)
            finite = bool(members.finite[index])
            caption = f"n = {kept.sum()} ({shared.sum()})" if finite else "not finite"
            name_panel(axes, members.names[index], caption, panel + GAP)
        for axes in panels[:, 0]:
            axes.set_ylabel("feature", size=LABEL_SIZE)
        ticks = {0.0: "0", 0.5: "0.5", 1.0: "1 or more"}
        label = "interference Σ(Ŵ_i·W_j)² of the other features"
        draw_color_scale(figure, Normalize(0, 1), colors, ticks, label)
    return figure


def _draw_bars(axes: Axes, norms: Floats, interference: Floats, colors: Colormap) -> None:
    size = len(norms)
    known = np.isfinite(norms) & np.isfinite(interference)
    shade = colors(np.clip(np.where(known, interference, 0.0), 0, 1))
    thickness = 0.8 if size <= 60 else 1.0  # gaps between many bars would only blur
    lengths = np.where(known, norms, 0.0)
    axes.barh(np.arange(size), lengths, height=thickness, color=shade, linewidth=0, zorder=2)
    axes.axvline(1.0, color=GRID_COLOR, linewidth=0.8, zorder=1)
