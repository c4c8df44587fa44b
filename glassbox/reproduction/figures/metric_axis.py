"""Axis of a panel for a metric of all seeds: number, share (percent), log, epochs or delays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from glassbox.plots.arrays import Floats, quartiles
from glassbox.plots.colors import TEST
from glassbox.plots.style import GRID_COLOR, log_ticks, whole_number
from glassbox.reproduction.figures.panel_grid import fitting_labels, percent_axis
from glassbox.reproduction.figures.select_points import censored_quartiles, columns, numbers_of
from glassbox.reproduction.grid_point import GridPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

Scale = Literal["number", "share", "log", "epochs", "delays"]
Side = Literal["x", "y"]

NEVER_STRIP = 0.13  # fraction of an axis of epochs for seeds without a value
CLOSE = 0.9  # fractions that are all above are drawn over their own range, not from 0 to 100 %


@dataclass(frozen=True)
class MetricAxis:
    """Scale and range of the axis that all panels of a metric share.

    ``share`` goes from 0 to 100 %. ``epochs`` is logarithmic, with a strip at its end for seeds
    that never reach the threshold; ``delays`` has this strip too, and is linear around 0 (asinh).
    """

    scale: Scale
    low: float  # lower limit
    high: float  # largest number
    end: float  # upper limit, above `high` only with a strip
    whole: bool = False  # whether all values are whole numbers

    @property
    def has_never(self) -> bool:
        """Whether a seed without a value is drawn in the strip."""
        return self.scale in ("epochs", "delays")

    @property
    def never(self) -> float:
        """Position of the middle of the strip."""
        return float(self.in_strip(np.array(0.5)))

    def in_strip(self, fractions: Floats) -> Floats:
        """Positions in the strip, from 0 at its lower to 1 at its upper edge."""
        if self.scale == "delays":
            low, high = np.arcsinh([self.high, self.end])
            return np.asarray(np.sinh(low + fractions * (high - low)))
        return np.asarray(self.high * (self.end / self.high) ** fractions)

    def places(self, values: Floats) -> Floats:
        """Positions of values: missing epochs in the strip, epochs below 1 at 1."""
        known = np.isfinite(values)
        if not self.has_never:
            return np.where(known, values, np.nan)
        least = 1 if self.scale == "epochs" else -np.inf
        return np.where(known, np.maximum(values, least), self.never)

    def quartiles(self, seeds: Sequence[Floats | None]) -> Floats:
        """Positions of lower quartile, median and upper quartile (3, N) of N points.

        A missing epoch or delay counts as later than any number; of other metrics, missing values
        are left out. A point that is None or has no seed is nan.
        """
        if not self.has_never:
            return quartiles(columns(seeds))
        table = np.full((3, len(seeds)), np.nan)
        for index, values in enumerate(seeds):
            if values is not None and len(values):
                table[:, index] = self.places(censored_quartiles(values))
        return table

    def prepare(self, axes: Axes, side: Side = "y") -> None:
        """Set scale, limits, ticks and grid of one side of a panel, and draw its strip."""
        from matplotlib.ticker import MaxNLocator

        if self.scale == "share" and (self.low, self.end) == (0, 1):
            percent_axis(axes, side=side)
            return
        log = self.scale in ("log", "epochs", "delays")
        if self.scale == "delays":  # linear from -1 to 1, logarithmic far beyond
            (axes.set_xscale if side == "x" else axes.set_yscale)("asinh", linear_width=1.0)
        else:
            axes.set(**{f"{side}scale": "log" if log else "linear"})
        axes.set(**{f"{side}lim": (self.low, self.end)})
        axes.grid(axis=side)
        axis: Axis = axes.xaxis if side == "x" else axes.yaxis
        if log:
            self._set_log_ticks(axes, axis, side)
        elif self.scale == "share":
            ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.end)
            inside = [tick for tick in ticks if self.low <= tick <= min(self.end, 1 + 1e-9)]
            axis.set_ticks(inside, [f"{100 * t:.5g} %" if abs(t) > 1e-9 else "0" for t in inside])
        else:
            # matplotlib's own choice leaves a narrow panel with one number.
            most, steps = (4 if side == "x" else 5), [1, 2, 2.5, 5, 10]
            locator = MaxNLocator(most, steps=steps, integer=self.whole, min_n_ticks=1)
            axis.set_major_locator(locator)
        if self.end > self.high:
            span = axes.axvspan if side == "x" else axes.axhspan
            span(self.high, self.end, color=GRID_COLOR, zorder=0, linewidth=0)

    def _set_log_ticks(self, axes: Axes, axis: Axis, side: Side) -> None:
        from matplotlib.ticker import MaxNLocator, NullLocator

        if self.scale == "epochs":
            below = self.high * (self.low / self.high) ** 0.05  # a label above would touch "never"
            ticks = [tick for tick in log_ticks(self.low, self.high) if tick < below]
            places, texts = [*ticks, self.never], [*map(whole_number, ticks), "never"]
        elif self.scale == "delays":
            powers = [10.0**power for power in range(12)]
            ticks = [*(-power for power in powers[:0:-1]), 0.0, *powers]
            low, high = np.arcsinh([self.low, self.high])
            below = np.sinh(high - 0.05 * (high - low))
            ticks = [tick for tick in ticks if self.low <= tick < below]
            places = [*ticks, self.never]
            texts = [*(whole_number(tick).replace("-", "−") for tick in ticks), "never"]
        else:
            places = log_ticks(self.low, self.high, least=0.0)
            if len(places) < 2:
                wanted = MaxNLocator(3).tick_values(self.low, self.high)
                places = [tick for tick in wanted if self.low <= tick <= self.high]
            texts = [f"{tick:,.6g}" for tick in places]
        if side == "x":  # labels in one row: the strip's has priority, then powers of ten
            order = sorted(
                range(len(places)), key=lambda i: (texts[i] != "never", not _power(places[i]))
            )
            scaled = np.arcsinh if self.scale == "delays" else np.log
            low, high = scaled([self.low, self.end])
            along = (scaled(places) - low) / (high - low)
            shown = fitting_labels(axes, along, texts, order)
            places, texts = [places[i] for i in shown], [texts[i] for i in shown]
        axis.set_ticks(places, texts)
        axis.set_minor_locator(NullLocator())

    def draw_seeds(
        self,
        axes: Axes,
        across: Floats,
        values: Floats,
        *,
        color: str,
        side: Side = "y",
        never_color: str = TEST,
    ) -> None:
        """Draw a faint dot for every seed, and a hollow one in the strip for a missing epoch."""
        known, places = np.isfinite(values), self.places(values)
        if side == "x" and self.end > self.high:  # narrow rows: three columns of missing epochs
            lanes = 0.25 + 0.25 * (np.arange(len(values), dtype=np.float64) % 3)
            places = np.where(known, places, self.in_strip(lanes))
        x, y = (places, across) if side == "x" else (across, places)
        style: dict[str, Any] = {"s": 11, "zorder": 2.5}
        axes.scatter(
            x[known], y[known], color=color, alpha=0.35, linewidths=0, clip_on=False, **style
        )
        if self.has_never:
            style |= {"facecolors": "none", "edgecolors": never_color, "linewidths": 0.7}
            axes.scatter(x[~known], y[~known], label="never", **style)


def metric_axis(scale: Scale, values: Floats) -> MetricAxis:
    """The axis for all values (V,) of a metric, ignoring nan and infinities."""
    known = values[np.isfinite(values)]
    if scale == "epochs":
        known = np.maximum(known, 1)
        low, high = (known.min() / 1.5, known.max() * 1.5) if len(known) else (1.0, 1000.0)
        return MetricAxis(
            scale, low, high, high * (high / low) ** (NEVER_STRIP / (1 - NEVER_STRIP))
        )
    if scale == "delays":
        low, high = np.arcsinh([min(known.min(), 0), known.max()] if len(known) else [0, 1000])
        margin = 0.05 * (high - low) or 1.0
        low, high = low - margin, high + margin
        end = high + (high - low) * NEVER_STRIP / (1 - NEVER_STRIP)
        return MetricAxis(scale, float(np.sinh(low)), float(np.sinh(high)), float(np.sinh(end)))
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if scale == "log":
        low, high = (low, high) if len(known) else (1.0, 10.0)
        margin = (high / low) ** 0.05 if high > low else 1.5
        return MetricAxis(scale, low / margin, high * margin, high * margin)
    if scale == "share" and 0 <= low <= CLOSE and high <= 1:
        return MetricAxis(scale, 0.0, 1.0, 1.0)
    margin = 0.05 * (high - low) or (0.5 if scale == "number" else 0.01)
    whole = bool((known == np.round(known)).all())
    return MetricAxis(scale, low - margin, high + margin, high + margin, whole)


def metric_axes(
    points: Sequence[GridPoint], metrics: Mapping[str, str], scales: Mapping[str, str] | None
) -> dict[str, MetricAxis]:
    """The axis of every metric."""
    labeled = isinstance(metrics, Mapping) and all(isinstance(v, str) for v in metrics.values())
    if not labeled or not metrics:
        raise ValueError(
            "metrics must map at least one metric to its label, such as "
            "'test/accuracy: accuracy on the test set'"
        )
    scales = scales or {}
    for metric, scale in scales.items():
        if metric not in metrics:
            raise ValueError(
                f"scales names {metric!r}, not in metrics; choose from {', '.join(metrics)}"
            )
        if scale not in get_args(Scale):
            raise ValueError(
                f"scale of {metric!r} is {scale!r}; choose one of {', '.join(get_args(Scale))}"
            )
    axes = {}
    for metric in metrics:
        values = np.concatenate([numbers_of(point, metric) for point in points])
        if scales.get(metric) == "log" and (values <= 0).any():
            raise ValueError(
                f"{metric!r} has the value {np.nanmin(values):g}; a log scale needs positive values"
            )
        axes[metric] = metric_axis(cast(Scale, scales.get(metric, "number")), values)
    return axes


def _power(tick: float) -> bool:
    """Whether a tick is a power of ten, or 0."""
    if tick <= 0:
        return tick == 0
    return bool(np.isclose(np.log10(tick) % 1, 0) or np.isclose(np.log10(tick) % 1, 1))
