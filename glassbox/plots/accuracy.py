"""Accuracy on train and test inputs over training, for many seeds at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.colors import TEST, TRAIN
from glassbox.plots.curves import draw_median, draw_seeds
from glassbox.plots.figure_title import titled_figure
from glassbox.plots.style import (
    DASHED,
    MUTED_COLOR,
    Style,
    house_style,
    log_ticks,
    percent_ticks,
    whole_number,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_EPOCHS = 400  # about one epoch per point of the axis' width


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
        epochs: (N,) increasing epochs; a log axis leaves out those below 1.
        train: (S, N) accuracy of S seeds on train inputs, 0 to 1; nan where it was not measured.
        test: (S, N) the same on test inputs.
        title: Figure title.
        train_epoch: (S,) epoch from which train accuracy stays above the threshold, nan = never.
        test_epoch: (S,) the same for test accuracy. The median, with never as infinite, is marked
            on the threshold line; the legend counts the seeds that reach it.
        threshold: Accuracy in 0 to 1 that counts as learned.
        log_epochs: Whether the epoch axis is logarithmic.

    Raises:
        ValueError: Shapes do not fit, or the epochs cannot be drawn on the axis.
    """
    from matplotlib import rc_context

    steps = as_floats(epochs, "epochs", (None,), "(epochs,)")
    if not (np.isfinite(steps).all() and (np.diff(steps) > 0).all()):
        raise ValueError("epochs must be finite and increasing.")
    if log_epochs and steps[-1] < 1:
        raise ValueError("epochs must include 1 or later on a logarithmic axis.")
    trained = as_floats(train, "train", (None, len(steps)), "(seeds, epochs)")
    tested = as_floats(test, "test", (len(trained), len(steps)), "(seeds, epochs)")
    kept = sample_epochs(steps, log=log_epochs)
    with rc_context(house_style()):
        figure = titled_figure(5.8, 3.6, title)
        axes = figure.subplots()
        _prepare_axes(axes, float(steps[kept[0]]), float(steps[kept[-1]]), log_epochs)
        axes.axhline(threshold, color=MUTED_COLOR, linewidth=0.8, linestyle=DASHED, zorder=1.5)
        for name, values, given, color in (
            ("train", trained, train_epoch, TRAIN),
            ("test", tested, test_epoch, TEST),
        ):
            label = name
            if given is not None:
                reached = as_floats(given, f"{name}_epoch", (len(trained),), "(seeds,)")
                label += ": " + _mark_median(axes, reached, threshold, color)
            draw_seeds(axes, steps[kept], values[:, kept], color)
            draw_median(axes, steps[kept], values[:, kept], color, label)
        one_line = train_epoch is None and test_epoch is None
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2 if one_line else 1)
    return figure


def sample_epochs(epochs: Floats, *, log: bool, limit: int = MAX_EPOCHS) -> NDArray[np.int64]:
    """Indices of at most `limit` epochs, evenly spaced on the axis, first and last included."""
    usable = np.flatnonzero(epochs >= 1) if log else np.arange(len(epochs))
    if len(usable) <= limit:
        return usable
    first, last = epochs[usable[0]], epochs[usable[-1]]
    wanted = np.geomspace(first, last, limit) if log else np.linspace(first, last, limit)
    nearest = np.searchsorted(epochs[usable], wanted * (1 - 1e-12))
    return usable[np.unique(np.clip(nearest, 0, len(usable) - 1))]


def _prepare_axes(axes: Axes, low: float, high: float, log: bool) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    if low == high:
        low, high = low * 0.5, high * 2 + 1
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(log_ticks(low, high)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(whole_number))
    axes.set(xlim=(low, high), ylim=(-0.02, 1.04), xlabel="epoch", ylabel="accuracy")
    percent_ticks(axes.yaxis)
    axes.grid(axis="y")


def _mark_median(axes: Axes, epochs: Floats, threshold: float, color: str) -> str:
    """Mark the median epoch on the threshold line; returns the legend's text."""
    from glassbox.metrics.quantiles import censored_quantile

    reached = np.isfinite(epochs).sum()
    text = f"{reached} of {len(epochs)} seeds hold {100 * threshold:.0f} %"
    median = censored_quantile(epochs, 0.5)
    if not np.isfinite(median):
        return text
    low, high = axes.get_xlim()
    if low <= median <= high:
        stem: Style = {"linewidth": 0.7, "alpha": 0.6, "zorder": 2}
        axes.plot([median, median], [-0.02, threshold], color=color, **stem)
        dot: Style = {"marker": "o", "markersize": 5, "markeredgecolor": "white", "zorder": 4}
        axes.plot(median, threshold, color=color, **dot)
    return f"{text}, from epoch {median:,.0f} (median)"
