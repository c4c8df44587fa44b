"""When a run learns its train inputs, and when it generalises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from callbacks.plots.arrays import Floats, as_floats
from callbacks.plots.colors import POINT, TEST
from callbacks.plots.style import (
    FAINT,
    NOTE_SIZE,
    QUIET,
    house_style,
    new_figure,
    place_axes,
    whole_number,
    wrap_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STRIP = 0.1  # share of an axis that is given to runs that never got there


def generalization_scatter(
    train_epoch: ArrayLike, test_epoch: ArrayLike, *, title: str = ""
) -> Figure:
    """Draw the epoch at which each run generalises over the one at which it fits its train inputs.

    After Figure 3(c) of the harmonic-loss paper. Runs on the dashed line y = x generalise as they
    learn; runs above it grok. Runs that never generalise are not dropped: they stand hollow in a
    strip along the top (and, if they never fit their train inputs, in one along the right side).

    Args:
        train_epoch: (S,) epoch from which train accuracy stays high, nan = never; epochs below 1
            are drawn at 1, as both axes are logarithmic.
        test_epoch: (S,) the same for test accuracy.
        title: of the figure.
    """
    from matplotlib import rc_context

    x = as_floats(train_epoch, "train_epoch", (None,), "(seeds,)")
    y = as_floats(test_epoch, "test_epoch", (len(x),), "(seeds,)")
    fits, generalises = np.isfinite(x), np.isfinite(y)
    x, y = np.maximum(x, 1), np.maximum(y, 1)
    low, high = _limits(np.concatenate([x[fits], y[generalises]]))
    never = not (fits.all() and generalises.all())
    end = high * (high / low) ** (STRIP / (1 - STRIP)) if never else high
    x = np.where(fits, x, _spread(~fits, high, end))
    y = np.where(generalises, y, np.sqrt(high * end))

    heading = wrap_title(title, 3.3)
    with rc_context(house_style() | {"axes.spines.top": True, "axes.spines.right": True}):
        figure = new_figure(3.9, 3.68 + 0.19 * len(heading))
        axes = place_axes(figure, left=0.68, right=0.16, bottom=0.48,
                          top=0.14 + 0.19 * len(heading))  # fmt: skip
        axes.set_title("\n".join(heading))
        _prepare_axes(axes, low, high, end)
        if not generalises.all():
            axes.axhspan(high, end, color=FAINT, zorder=0, linewidth=0)
            axes.text(low * 1.06, np.sqrt(high * end), "never", color=QUIET, size=NOTE_SIZE,
                      va="center", ha="left")  # fmt: skip
        if not fits.all():
            axes.axvspan(high, end, color=FAINT, zorder=0, linewidth=0)
            axes.text(np.sqrt(high * end), low * 1.06, "never", color=QUIET, size=NOTE_SIZE,
                      va="bottom", ha="center", rotation=90)  # fmt: skip
        axes.plot([low, high], [low, high], color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)),
                  zorder=1, label="same epoch")  # fmt: skip
        axes.scatter(x[generalises], y[generalises], s=30, color=POINT, alpha=0.75,
                     edgecolors="white", linewidths=0.5, zorder=3,
                     label=f"generalises: {generalises.sum()} of {len(x)}")  # fmt: skip
        axes.scatter(x[~generalises], y[~generalises], s=26, facecolors="none", edgecolors=TEST,
                     linewidths=1.0, zorder=3,
                     label=f"never: {(~generalises).sum()} of {len(x)}")  # fmt: skip
        axes.legend(loc="lower right", bbox_to_anchor=(1 - 1.1 * STRIP * (not fits.all()), 0.0),
                    borderaxespad=0.5)  # fmt: skip
    return figure


def _limits(epochs: Floats) -> tuple[float, float]:
    """Limits around the epochs with some air, at least a decade apart."""
    if len(epochs) == 0:
        return 1.0, 1000.0
    low, high = epochs.min() / 1.6, epochs.max() * 1.4
    widen = max(1.0, np.sqrt(10 * low / high))
    return float(low / widen), float(high * widen)


def _spread(missing: np.ndarray, high: float, end: float) -> Floats:
    """Places (S,) side by side across the strip for the missing runs, which have no epoch."""
    share = (np.cumsum(missing) - 0.5) / max(int(missing.sum()), 1)
    return high * (end / high) ** (0.15 + 0.7 * share)


def _prepare_axes(axes: Axes, low: float, high: float, end: float) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 300 else (1,)
    ticks = np.sort(np.outer(powers, steps).ravel())
    ticks = ticks[(ticks >= max(low, 1)) & (ticks <= high)]
    axes.set(xscale="log", yscale="log", xlim=(low, end), ylim=(low, end))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(whole_number))
    axes.set_aspect("equal")
    axes.grid()
    axes.set_xlabel("epoch at which train inputs are learned")
    axes.set_ylabel("epoch at which test inputs are learned")
