"""One model's training: its weights at some steps, its losses at others, and the loss curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.style import MUTED_COLOR, NOTE_SIZE, whole_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOSS_COLOR = "#0072B2"


class TrainingHistory(NamedTuple):
    """Weights and losses over the optimizer steps of one training."""

    weights: Floats  # (T, N, H), row i the direction of feature i
    steps: Floats  # (T,), increasing
    losses: Floats  # (K,)
    loss_steps: Floats  # (K,), increasing

    @property
    def last_rows(self) -> Floats:
        """The last weights (N, H) that are finite, whose frame is used for all steps."""
        finite = np.flatnonzero(np.isfinite(self.weights).all(axis=(1, 2)))
        return self.weights[finite[-1] if len(finite) else -1]

    @property
    def reach(self) -> float:
        """A little more than the longest row of all finite weights; 1 if there is none."""
        norms = np.linalg.norm(self.weights, axis=2)
        return 1.16 * float(norms[np.isfinite(norms)].max(initial=0.0)) or 1.0

    def loss_at(self, steps: Floats) -> Floats:
        """Losses at the steps, linearly interpolated between those that are finite.

        nan before the first finite loss, constant after the last.
        """
        known = np.isfinite(self.losses)
        if not known.any():
            return np.full(len(steps), np.nan)
        return np.asarray(np.interp(steps, self.loss_steps[known], self.losses[known], np.nan))

    @property
    def late_start(self) -> str:
        """A note if the loss is first measured after the first step, else empty."""
        known = self.loss_steps[np.isfinite(self.losses)]
        late = len(known) > 0 and known[0] > self.steps[0]
        return f"the loss is first measured at step {known[0]:,.0f}" if late else ""

    def choose(self, count: int) -> NDArray[np.int64]:
        """Indices of at most `count` recorded steps: the first, and others evenly in logarithms.

        Most of the change happens early; evenly in time it would fall between two panels.
        """
        if len(self.steps) <= count:
            return np.arange(len(self.steps))
        later = self.steps[self.steps > 0]
        wanted = np.geomspace(later[0], later[-1], count - 1)
        nearest = np.abs(np.log(later[:, None] / wanted)).argmin(axis=0)
        first = len(self.steps) - len(later)
        return np.unique(np.concatenate([[0], nearest + first])).astype(np.int64)


def as_training_history(
    weights: ArrayLike, steps: ArrayLike, losses: ArrayLike, loss_steps: ArrayLike
) -> TrainingHistory:
    """The four arrays of a training, checked.

    Args:
        weights: (T, N, H), at T recorded steps.
        steps: (T,), increasing, at least 0.
        losses: (K,).
        loss_steps: (K,), increasing, at least 0.

    Raises:
        ValueError: Shapes do not fit, or steps do not increase.
    """
    cloud = as_floats(weights, "weights", (None, None, None), "(times, features, hidden)")
    times = as_floats(steps, "steps", (len(cloud),), "(times,)")
    curve = as_floats(losses, "losses", (None,), "(points,)")
    places = as_floats(loss_steps, "loss_steps", (len(curve),), "(points,)")
    for name, values in (("steps", times), ("loss_steps", places)):
        if not np.isfinite(values).all() or values[0] < 0 or (np.diff(values) <= 0).any():
            raise ValueError(f"{name} must be at least 0 and increase from one to the next.")
    return TrainingHistory(cloud, times, curve, places)


def draw_loss(axes: Axes, history: TrainingHistory, marked: Floats) -> None:
    """Draw the loss curve, with logarithmic axes where losses or steps span orders of magnitude.

    The x axis is linear up to the first of the `marked` steps after 0, so that it includes step 0.
    A loss axis that does not start at 0 states the change relative to the largest loss.
    """
    known = np.isfinite(history.losses)
    values = history.losses[known]
    axes.plot(history.loss_steps[known], values, color=LOSS_COLOR, linewidth=1.1, zorder=2)
    _set_step_axis(axes, marked[marked > 0], float(max(history.loss_steps[-1], history.steps[-1])))
    _set_loss_axis(axes, values)
    axes.grid(axis="y")
    axes.set_ylabel("loss")


def _set_step_axis(axes: Axes, marked: Floats, last: float) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    last = max(last, 1.0)
    if len(marked) > 1 and last > 20 * marked[0]:
        axes.set_xscale("symlog", linthresh=float(marked[0]), linscale=0.6)
        powers = 10.0 ** np.arange(0, 10)
        axes.set_xticks([0.0, *powers[(powers >= marked[0]) & (powers <= last)]])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(f"optimizer step (logarithmic from {marked[0]:,.0f} on)")
    else:
        axes.set_xlabel("optimizer step")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlim(0, last)
    axes.xaxis.set_major_formatter(FuncFormatter(whole_number))


def _set_loss_axis(axes: Axes, values: Floats) -> None:
    from matplotlib.ticker import NullFormatter

    if len(values) == 0:
        axes.set_ylim(0, 1)
        axes.annotate("no finite loss", (0.5, 0.5), xycoords="axes fraction", ha="center")
        return
    low, high = float(values.min()), float(values.max())
    if low > 0 and high > 10 * low:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
        return
    if 0.5 * high < low < high:  # on an axis from 0 this would look like a flat line
        axes.set_ylim(low - 0.15 * (high - low), high + 0.25 * (high - low))
        axes.annotate(
            f"axis cut: the loss changes by {100 * (high - low) / high:.2g} %",
            (1.0, 1.0),
            xycoords="axes fraction",
            xytext=(-2, -3),
            textcoords="offset points",
            ha="right",
            va="top",
            size=NOTE_SIZE,
            color=MUTED_COLOR,
            zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85},
        )
    else:
        axes.set_ylim(0 if low >= 0 else None, 1.06 * high or 1.0)
    axes.locator_params(axis="y", nbins=4)
