"""Which features a model represents, and which of these share their directions with others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats
from glassbox.plots.feature_arrays import as_members, interference_of
from glassbox.plots.feature_legend import name_panel
from glassbox.plots.figure_title import layout_title
from glassbox.plots.style import (
    GRID_COLOR,
    LABEL_SIZE,
    MUTED_COLOR,
    NOTE_SIZE,
    house_style,
    new_figure,
    place_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

MARGIN, AXIS, GAP, CAPTION, FOOT = 0.15, 0.46, 0.16, 0.4, 0.62  # inches
WIDEST, SMALLEST, LARGEST = 12.6, 0.78, 1.5  # inches: the figure, a panel's width


def superposition_sheet(
    weights: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    threshold: float = 0.5,
    title: str = "",
) -> Figure:
    """Draw every feature's norm as a bar colored by its interference, a panel a model.

    After the sheet of Toy Models. A bar is as long as ‖W_i‖ and colored by Σ_{j≠i} (Ŵ_i·W_j)²:
    dark where the feature has a direction to itself, bright where others lie in it too. The line
    below row H - 1 marks as many features as there are hidden neurons, all that fit without
    superposition. Above each panel stand the numbers of features represented, and of those among
    them in superposition (an interference above a tenth of the squared norm).

    Args:
        weights: (N, H) or (S, N, H), row i the direction of feature i, the most important first.
        names: S texts above the panels, such as "1−S = 0.1".
        threshold: Norm above which a feature counts as represented.
        title: Of the figure.

    Raises:
        ValueError: Shapes do not fit.
    """
    from matplotlib import rc_context

    members = as_members(weights, names)
    count, size, hidden = members.weights.shape
    norms = np.linalg.norm(members.weights, axis=2)  # (S, N)
    interference = interference_of(members.weights)
    columns = min(count, int((WIDEST - 2 * MARGIN - AXIS) / (SMALLEST + GAP)))
    columns = -(-count // -(-count // columns))  # rows of about the same length
    rows = -(-count // columns)
    panel = float(np.clip((10.4 - AXIS) / columns - GAP, SMALLEST, LARGEST))
    tall = float(np.clip(0.105 * size, 0.9, 3.6))
    width = max(2 * MARGIN + AXIS + columns * (panel + GAP) - GAP, 4.6)
    notes = [
        f"bars: ‖W_i‖ · line: as many features as the {hidden} hidden neurons",
        "n = represented, with those in superposition in brackets",
    ]
    heading = layout_title(title, notes, width - 2 * MARGIN)
    height = heading.height + rows * (CAPTION + tall) + (rows - 1) * 0.3 + FOOT + 0.26
    finite = norms[np.isfinite(norms)]
    high = max(1.0, float(finite.max())) if len(finite) else 1.0
    colors = _colors()
    with rc_context(house_style()):
        figure = new_figure(width, height)
        heading.draw(figure, MARGIN)
        for index in range(count):
            row, column = divmod(index, columns)
            left = MARGIN + AXIS + column * (panel + GAP)
            top = heading.height + row * (CAPTION + tall + 0.3) + CAPTION
            axes = place_axes(
                figure, left=left, right=width - left - panel, top=top, bottom=height - top - tall
            )
            _draw_bars(axes, norms[index], interference[index], high, colors)
            if hidden < size:
                axes.axhline(hidden - 0.5, color=MUTED_COLOR, linewidth=0.8, linestyle=(0, (3, 2)))
            kept = norms[index] > threshold
            shared = kept & (interference[index] > 0.1 * norms[index] ** 2)
            known = bool(members.finite[index])
            caption = f"n = {kept.sum()} ({shared.sum()})" if known else "not finite"
            name_panel(axes, members.names[index], caption, panel + GAP)
            axes.tick_params(labelleft=column == 0, labelbottom=index + columns >= count)
            if column == 0:
                axes.set_ylabel("feature", size=LABEL_SIZE)
        _draw_key(figure, colors, MARGIN + AXIS)
    return figure


def _colors() -> Colormap:
    """From a dark violet for no interference to a bright yellow for as much as a whole feature."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("num_superposed", ["#2b2350", "#8b3b6e", "#f2b134"])


def _draw_bars(
    axes: Axes, norms: Floats, interference: Floats, high: float, colors: Colormap
) -> None:
    size = len(norms)
    known = np.isfinite(norms) & np.isfinite(interference)
    shown = np.where(known, norms, 0.0)
    shade = colors(np.clip(np.where(known, interference, 0.0), 0, 1))
    thickness = 0.8 if size <= 60 else 1.0  # gaps of many bars would only blur
    axes.barh(np.arange(size), shown, height=thickness, color=shade, linewidth=0, zorder=2)
    axes.axvline(1.0, color=GRID_COLOR, linewidth=0.8, zorder=1)
    axes.set_xlim(0, 1.04 * high)
    axes.set_xticks([0, 0.5, 1], ["0", "", "1"])
    axes.set_ylim(size - 0.5, -0.5)
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**9) if size <= 8 * s)
    axes.set_yticks(range(0, size, step))
    axes.tick_params(length=2)


def _draw_key(figure: Figure, colors: Colormap, left: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, 0.4 / height, 2.2 / width, 0.09 / height))
    scale = ScalarMappable(Normalize(0, 1), colors)
    bar = figure.colorbar(scale, cax=axes, orientation="horizontal")
    bar.outline.set_visible(False)
    bar.set_ticks([0, 0.5, 1], labels=["0", "0.5", "1 or more"])
    axes.set_xlabel("interference Σ(Ŵ_i·W_j)² of the other features", size=NOTE_SIZE)
    axes.tick_params(labelsize=NOTE_SIZE - 0.5, length=2)
