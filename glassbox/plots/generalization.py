"""When a run learns its train inputs, and when it generalizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.colors import POINT, TEST
from glassbox.plots.figure_title import titled_figure
from glassbox.plots.style import (
    DASHED,
    GRID_COLOR,
    MUTED_COLOR,
    Style,
    house_style,
    log_ticks,
    whole_number,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

STRIP = 0.1  # fraction of an axis reserved for runs that never learn


def generalization_scatter(
    train_epoch: ArrayLike, test_epoch: ArrayLike, *, title: str = ""
) -> Figure:
    """Draw the epoch at which each run generalizes over the one at which it fits its train inputs.

    After Figure 3(c) of the harmonic-loss paper. Runs on the dashed line y = x generalize as they
    learn; runs above it grok. Runs that never generalize are drawn hollow in a strip along the top,
    and runs that never fit their train inputs in a strip along the right side.

    Args:
        train_epoch: (S,) epoch from which train accuracy stays high, nan = never; epochs below 1
            are drawn at 1, as both axes are logarithmic.
        test_epoch: (S,) the same for test accuracy.
        title: Figure title.

    Raises:
        ValueError: Shapes do not fit.
    """
    from matplotlib import rc_context

    x = as_floats(train_epoch, "train_epoch", (None,), "(seeds,)")
    y = as_floats(test_epoch, "test_epoch", (len(x),), "(seeds,)")
    fits, generalizes = np.isfinite(x), np.isfinite(y)
    x, y = np.maximum(x, 1), np.maximum(y, 1)
    low, high = epoch_limits(np.concatenate([x[fits], y[generalizes]]))
    never = not (fits.all() and generalizes.all())
    end = high * (high / low) ** (STRIP / (1 - STRIP)) if never else high
    x = np.where(fits, x, spread_over_strip(~fits, high, end))
    neither = ~fits & ~generalizes
    y = np.where(generalizes, y, np.sqrt(high * end))
    y = np.where(neither, spread_over_strip(neither, high, end, step=0.618), y)

    with rc_context(house_style(box=True)):
        figure = titled_figure(3.9, 3.7, title)
        axes = figure.subplots()
        prepare_epoch_axes(axes, low, high, end)
        axes.set_anchor("SW")  # the layout measures labels from the lower left corner
        if not generalizes.all():
            add_never_tick(axes.yaxis, np.sqrt(high * end), high)
            axes.axhspan(high, end, color=GRID_COLOR, zorder=0, linewidth=0)
        if not fits.all():
            add_never_tick(axes.xaxis, np.sqrt(high * end), high * (low / high) ** 0.09)
            axes.axvspan(high, end, color=GRID_COLOR, zorder=0, linewidth=0)
        diagonal: Style = {"color": MUTED_COLOR, "linewidth": 0.8, "linestyle": DASHED, "zorder": 1}
        axes.plot([low, high], [low, high], label="same epoch", **diagonal)
        axes.scatter(
            x[generalizes],
            y[generalizes],
            s=30,
            color=POINT,
            alpha=0.75,
            edgecolors="white",
            linewidths=0.5,
            zorder=3,
            label=f"generalizes: {generalizes.sum()} of {len(x)}",
        )
        axes.scatter(
            x[~generalizes],
            y[~generalizes],
            s=26,
            facecolors="none",
            edgecolors=TEST,
            linewidths=1.0,
            zorder=3,
            label=f"never: {(~generalizes).sum()} of {len(x)}",
        )
        right = 1.0 if fits.all() else 1 - 1.1 * STRIP
        axes.legend(loc="lower right", bbox_to_anchor=(right, 0.0), borderaxespad=0.5)
    return figure


def add_never_tick(axis: Axis, place: float, last: float) -> None:
    """Add a tick at `place`, in the middle of the strip, and remove those between it and `last`."""
    axis.set_ticks([*(tick for tick in axis.get_majorticklocs() if tick <= last), place])


def epoch_limits(epochs: Floats) -> tuple[float, float]:
    """Limits around the epochs with a margin, at least a decade apart."""
    if len(epochs) == 0:
        return 1.0, 1000.0
    low, high = epochs.min() / 1.6, epochs.max() * 1.4
    widen = max(1.0, np.sqrt(10 * low / high))
    return float(low / widen), float(high * widen)


def spread_over_strip(
    missing: NDArray[np.bool_], high: float, end: float, step: float = 0.0
) -> Floats:
    """Places (S,) of the missing runs across the strip: evenly, or `step` of its width apart."""
    number = np.cumsum(missing) - 0.5
    fraction = (number * step) % 1 if step else number / max(int(missing.sum()), 1)
    return np.asarray(high * (end / high) ** (0.15 + 0.7 * fraction))


def prepare_epoch_axes(axes: Axes, low: float, high: float, end: float) -> None:
    """Make both axes logarithmic from `low` to `end`; ticks beyond `high` read "never"."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set(xscale="log", yscale="log", xlim=(low, end), ylim=(low, end))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(log_ticks(low, high)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(
            FuncFormatter(lambda value, _: whole_number(value) if value <= high else "never")
        )
    axes.set_aspect("equal")
    axes.grid()
    axes.set_xlabel("epoch at which train inputs are learned")
    axes.set_ylabel("epoch at which test inputs are learned")
