"""Curves of many seeds: each seed faintly, the median, and the band between the quartiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from glassbox.plots.arrays import Floats, quartiles, seed_segments

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_seeds(axes: Axes, x: Floats, curves: Floats, color: str) -> None:
    """Draw each of several curves (S, N) over x (N,) as a faint line."""
    from matplotlib.collections import LineCollection

    if len(curves) > 1:
        lines = LineCollection(
            seed_segments(x, curves), colors=color, linewidths=0.5, alpha=0.25, zorder=2
        )
        axes.add_collection(lines, autolim=False)


def draw_band(axes: Axes, x: Floats, low: Floats, high: Floats, color: str) -> None:
    """Fill the band between two curves (N,) over x (N,)."""
    axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0, zorder=2.2)


def draw_median(
    axes: Axes, x: Floats, curves: Floats, color: str, label: str, **line: Any
) -> Floats:
    """Draw the median (N,), which is returned, of curves (S, N), and their quartile band if S > 2.

    Args:
        axes: Drawn into.
        x: (N,).
        curves: (S, N); nan is left out.
        color: Color of line and band.
        label: For the legend.
        line: Further properties of the line.
    """
    lower, median, upper = quartiles(curves)
    if len(curves) > 2:
        draw_band(axes, x, lower, upper, color)
    axes.plot(x, median, color=color, label=label, zorder=3, **line)
    return median
