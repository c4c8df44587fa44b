"""Accuracy on train and test inputs over training, for many seeds at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.arrays import (
    Floats,
    as_floats,
    censored_median,
    quartiles,
    seed_segments,
)
from glassbox.plots.colors import TEST, TRAIN
from glassbox.plots.style import (
    MUTED_COLOR,
    house_style,
    log_ticks,
    new_figure,
    place_axes,
    whole_number,
    wrap_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_EPOCHS = 400  # about one epoch for every point of the axis' width


def accuracy_curves(
    epochs: ArrayLike,
    train: ArrayLike,
    test: ArrayLike,
    *,
    title: str = "",
    train_epoch: ArrayLike | None = None,
    test_epoch: ArrayLike | None = None,
    threshold: float = 0.9,
    log_epochs: bool = True,
) -> Figure:
    """Draw train and test accuracy: every seed faintly, the median and the quartile band.

    After the upper row of Figure 4 of the harmonic-loss paper, with all seeds in one panel. Long
    series are sampled (not averaged) at about 400 epochs, evenly spaced along the axis.

    Args:
        epochs: (N,) increasing epochs; on a log axis those below 1 are left out.
        train: (S, N) accuracy of S seeds on train inputs, 0 to 1; nan where it was not measured.
        test: (S, N) the same on test inputs.
        title: of the figure.
        train_epoch: (S,) epoch from which train accuracy stays above the threshold, nan = never.
        test_epoch: (S,) the same for test accuracy. The median, with never as infinite, is marked
            on the threshold line; the legend tells how many seeds got there.
        threshold: accuracy in 0 to 1 that counts as learned.
        log_epochs: whether the epoch axis is logarithmic.
    """
    from matplotlib import rc_context
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    steps = as_floats(epochs, "epochs", (None,), "(epochs,)")
    shape = (None, len(steps))
    curves = [as_floats(train, "train", shape, "(seeds, epochs)")]
    curves.append(as_floats(test, "test", (len(curves[0]), len(steps)), "(seeds, epochs)"))
    sustained: list[Floats | None] = []
    for name, values in (("train_epoch", train_epoch), ("test_epoch", test_epoch)):
        given = None if values is None else as_floats(values, name, (len(curves[0]),), "(seeds,)")
        sustained.append(given)
    if not (np.isfinite(steps).all() and (np.diff(steps) > 0).all()):
        raise ValueError("epochs must be finite and increasing.")
    if log_epochs and steps[-1] < 1:
        raise ValueError("A logarithmic axis needs an epoch of 1 or later.")

    kept = sample_epochs(steps, log=log_epochs)
    heading = wrap_title(title, 5.0)
    rows = 1 if all(given is None for given in sustained) else 2
    top = 0.2 + 0.17 * rows + 0.19 * len(heading)
    with rc_context(house_style()):
        figure = new_figure(5.8, 3.0 + top)
        axes = place_axes(figure, left=0.62, right=0.24, bottom=0.48, top=top)
        axes.set_title("\n".join(heading), y=1.0, pad=12 * rows + 6)
        low, high = float(steps[kept[0]]), float(steps[kept[-1]])
        if low == high:
            low, high = low * 0.5, high * 2 + 1
        if log_epochs:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(FixedLocator(log_ticks(low, high)))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(whole_number))
        axes.set_xlim(low, high)
        axes.set_ylim(-0.02, 1.04)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25 %", "50 %", "75 %", "100 %"])
        axes.set_xlabel("epoch")
        axes.set_ylabel("accuracy")
        axes.grid(axis="y")
        axes.axhline(threshold, color=MUTED_COLOR, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1.5)
        names = (("train", TRAIN), ("test", TEST))
        for (name, color), values, epoch in zip(names, curves, sustained, strict=True):
            label = name if epoch is None else f"{name}: {_reached(epoch, threshold)}"
            _draw_band(axes, steps[kept], values[:, kept], color, label)
            if epoch is not None:
                _draw_mark(axes, epoch, threshold, color)
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            borderaxespad=0.2,
            borderpad=0.1,
            labelspacing=0.3,
            ncols=2 if rows == 1 else 1,
        )
    return figure


def sample_epochs(epochs: Floats, *, log: bool, most: int = MOST_EPOCHS) -> NDArray[np.int64]:
    """Indices of at most `most` epochs, evenly spaced on the axis, first and last included."""
    usable = np.flatnonzero(epochs >= 1) if log else np.arange(len(epochs))
    if len(usable) <= most:
        return usable
    first, last = epochs[usable[0]], epochs[usable[-1]]
    wanted = np.geomspace(first, last, most) if log else np.linspace(first, last, most)
    nearest = np.searchsorted(epochs[usable], wanted * (1 - 1e-12))
    return usable[np.unique(np.clip(nearest, 0, len(usable) - 1))]


def _reached(epochs: Floats, threshold: float) -> str:
    median = censored_median(epochs)
    share = f"{np.isfinite(epochs).sum()} of {len(epochs)} seeds hold {100 * threshold:.0f} %"
    return f"{share}, from epoch {median:,.0f} (median)" if np.isfinite(median) else share


def _draw_band(axes: Axes, x: Floats, y: Floats, color: str, label: str) -> None:
    from matplotlib.collections import LineCollection

    if len(y) > 1:
        lines = LineCollection(
            seed_segments(x, y), colors=color, linewidths=0.5, alpha=0.22, zorder=2
        )
        axes.add_collection(lines, autolim=False)
    lower, median, upper = quartiles(y)
    if len(y) > 2:
        axes.fill_between(x, lower, upper, color=color, alpha=0.18, linewidth=0, zorder=2.2)
    axes.plot(x, median, color=color, label=label, zorder=3)


def _draw_mark(axes: Axes, epochs: Floats, threshold: float, color: str) -> None:
    median = censored_median(epochs)
    low, high = axes.get_xlim()
    if not np.isfinite(median) or not low <= median <= high:
        return
    axes.plot([median, median], [-0.02, threshold], color=color, linewidth=0.7, alpha=0.6, zorder=2)
    axes.plot(
        median,
        threshold,
        marker="o",
        markersize=5,
        color=color,
        markeredgecolor="white",
        markeredgewidth=0.8,
        zorder=4,
    )
