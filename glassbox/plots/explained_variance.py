"""Cumulative explained variance of one model's embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats, as_floats, quartiles, seed_segments
from glassbox.plots.colors import POINT
from glassbox.plots.style import TEXT_COLOR, house_style, new_figure, place_axes, wrap_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def cumulative_explained_variance(
    ratios: ArrayLike, *, title: str = "", components: int = 10
) -> Figure:
    """Draw how much variance the first 1, 2, ... components hold: seeds, median, quartiles.

    After Figure 3(a) of the harmonic-loss paper, with the spread over seeds shown.

    Args:
        ratios: (S, E) fraction of variance in each component, largest first, each row summing to
            at most 1; a seed with nan is left out from there on.
        title: of the figure.
        components: how many components the axis shows (at most E).
    """
    from matplotlib import rc_context
    from matplotlib.collections import LineCollection

    curves = _cumulate(ratios, "ratios", components)
    x = np.arange(1, curves.shape[1] + 1, dtype=np.float64)
    with rc_context(house_style()):
        figure, axes = _prepare(title, len(x))
        if len(curves) > 1:
            faint = LineCollection(
                seed_segments(x, curves), colors=POINT, linewidths=0.5, alpha=0.28, zorder=2
            )
            axes.add_collection(faint, autolim=False)
        median = draw_curve(axes, x, curves, POINT, f"median of {len(curves)} seeds")
        if len(x) > 1 and np.isfinite(median[1]):
            axes.plot(
                2,
                median[1],
                marker="o",
                markersize=8,
                markerfacecolor="none",
                markeredgecolor=TEXT_COLOR,
                markeredgewidth=0.8,
                zorder=5,
            )
            _annotate_two(axes, curves, float(median[1]))
        if len(curves) > 1:
            axes.legend(loc="lower right")
    return figure


def _annotate_two(axes: Axes, curves: Floats, value: float) -> None:
    """Name the value at two components, below a curve that rises early, above one that does not."""
    early = value > 0.4
    above = min(0.95, float(np.nanmax(curves[:, :5])) + 0.12)
    axes.annotate(
        f"{100 * value:.0f} % in 2 components",
        (2, value),
        (2.7, value - 0.17) if early else (1.2, above),
        ha="left",
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
            "relpos": (0.0, 0.5) if early else (0.22, 0.0),
        },
    )


def _cumulate(ratios: ArrayLike, name: str, components: int) -> Floats:
    if components < 1:
        raise ValueError(f"components must be at least 1, not {components}.")
    parts = as_floats(ratios, name, (None, None), "(seeds, components)")
    return np.cumsum(parts, axis=1)[:, :components]


def _prepare(title: str, components: int) -> tuple[Figure, Axes]:
    heading = wrap_title(title, 3.9)
    figure = new_figure(4.6, 3.1 + 0.17 * len(heading))
    axes = place_axes(figure, left=0.64, right=0.16, bottom=0.48, top=0.17 + 0.19 * len(heading))
    axes.set_title("\n".join(heading))
    axes.set_xlim(0.7, max(components, 4) + 0.3)
    axes.set_xticks(np.unique(np.linspace(1, components, min(components, 10)).round()))
    axes.set_ylim(0, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.set_xlabel("number of principal components")
    axes.set_ylabel("explained variance")
    axes.grid(axis="y")
    return figure, axes


def draw_curve(axes: Axes, x: Floats, curves: Floats, color: str, label: str) -> Floats:
    """Draw median (returned, (E,)) and quartile band of the curves (S, E) over x (E,)."""
    lower, median, upper = quartiles(curves)
    if len(curves) > 2:
        axes.fill_between(x, lower, upper, color=color, alpha=0.18, linewidth=0, zorder=2.2)
    axes.plot(
        x, median, color=color, marker="o", markersize=3.2, label=label, zorder=3, clip_on=False
    )
    return median
