"""Cumulative explained variance of one model's embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.colors import POINT
from glassbox.plots.curves import draw_median, draw_seeds
from glassbox.plots.figure_title import titled_figure
from glassbox.plots.style import TEXT_COLOR, Style, house_style, percent_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_COMPONENTS = 10


def cumulative_explained_variance(ratios: ArrayLike, *, title: str = "") -> Figure:
    """Draw how much variance the first 1, 2, … components hold: seeds, median, quartiles.

    After Figure 3(a) of the harmonic-loss paper, with the variation over seeds shown.

    Args:
        ratios: (S, E) fraction of variance in each component, largest first, each row summing to
            at most 1; a seed with nan is left out from there on. The first ten are drawn.
        title: Figure title.

    Raises:
        ValueError: The shape does not fit.
    """
    from matplotlib import rc_context

    fractions = as_floats(ratios, "ratios", (None, None), "(seeds, components)")
    curves = np.cumsum(fractions, axis=1)[:, :MAX_COMPONENTS]
    x = np.arange(1, curves.shape[1] + 1, dtype=np.float64)
    with rc_context(house_style()):
        figure = titled_figure(4.6, 3.1, title)
        axes = figure.subplots()
        draw_seeds(axes, x, curves, POINT)
        median = draw_curve(axes, x, curves, POINT, f"median of {len(curves)} seeds")
        if len(x) > 1 and np.isfinite(median[1]):
            _annotate_two(axes, curves, float(median[1]))
        axes.set_xlim(0.7, max(len(x), 4) + 0.3)
        axes.set_xticks(x)
        axes.set_ylim(0, 1.02)
        percent_ticks(axes.yaxis)
        axes.set_xlabel("number of principal components")
        axes.set_ylabel("explained variance")
        axes.grid(axis="y")
        if len(curves) > 1:
            axes.legend(loc="lower right")
    return figure


def draw_curve(axes: Axes, x: Floats, curves: Floats, color: str, label: str) -> Floats:
    """Draw median (returned, (E,)) and quartile band of curves (S, E) over x (E,), with dots."""
    return draw_median(axes, x, curves, color, label, marker="o", markersize=3.2, clip_on=False)


def _annotate_two(axes: Axes, curves: Floats, value: float) -> None:
    """Circle and write the value at two components: below a steep curve, above a flat one."""
    steep = value > 0.4
    above = min(0.95, float(np.nanmax(curves[:, :5])) + 0.12)
    ring: Style = {"markerfacecolor": "none", "markeredgecolor": TEXT_COLOR, "markeredgewidth": 0.8}
    axes.plot(2, value, marker="o", markersize=8, zorder=5, **ring)
    axes.annotate(
        f"{100 * value:.0f} % in 2 components",
        (2, value),
        (2.7, value - 0.17) if steep else (1.2, above),
        va="center",
        zorder=6,
        bbox={
            "boxstyle": "round,pad=0.2",
            "facecolor": "white",
            "edgecolor": "none",
            "alpha": 0.85,
        },
        arrowprops={
            "arrowstyle": "-",
            "color": TEXT_COLOR,
            "linewidth": 0.6,
            "shrinkA": 0,
            "shrinkB": 4.5,
            "relpos": (0.0, 0.5) if steep else (0.22, 0.0),
        },
    )
