"""Accuracy, geometry and speed over the exponent of the harmonic loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from glassbox.plots.arrays import Floats
from glassbox.plots.colors import POINT, TEST
from glassbox.plots.style import LABEL_SIZE, MUTED_COLOR, NOTE_SIZE, house_style
from glassbox.reproduction.figures.metric_axis import MetricAxis, metric_axis
from glassbox.reproduction.figures.panel_grid import (
    DOT_REACH,
    draw_median,
    panel_grid,
    percent_axis,
    side_by_side,
)
from glassbox.reproduction.figures.seed_counts import seeds_text
from glassbox.reproduction.figures.select_points import (
    axis_values,
    numbers_of,
    numeric_values,
    points_along,
)
from glassbox.reproduction.grid_point import GridPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {
    "val/embedding/explained_variance_2": "explained variance\nof 2 components",
    "test/accuracy": "test accuracy",
    "test/accuracy_clean": "accuracy on test inputs\nnever trained on",
    "train/accuracy": "train accuracy",
    "generalization/test_epoch": "epoch at which test\ninputs are learned",
    "generalization/train_epoch": "epoch at which train\ninputs are learned",
}


def exponents(
    points: Sequence[GridPoint],
    *,
    title: str = "",
    metrics: Sequence[str] = (
        "val/embedding/explained_variance_2",
        "test/accuracy",
        "generalization/test_epoch",
    ),
    reached: str = "generalization/test_epoch",
) -> Figure:
    """Draw metrics over the exponent: a column of panels per task, a row per metric.

    Every seed is a faint dot, the line is the median and the band the quartiles. A missing epoch is
    a hollow dot in a strip at the top, and counts as later than any number, so that a median may
    lie there too.

    Args:
        points: With the axes "task" and "exponent" (numbers as text, above 0), in any order, and
            the metrics. An exponent without a point leaves a gap in its line.
        title: Of the figure.
        metrics: One per row. Those that end in ``_epoch`` have a logarithmic axis with a strip for
            missing values; of others, seeds without a value are left out.
        reached: Metric that a seed has once it reaches 90 %; the number of such seeds is written
            below the exponents.

    Raises:
        ValueError: An axis or a metric is missing, an exponent is not a positive number, or several
            points have the same labels.
    """
    from matplotlib import rc_context

    tasks, values = axis_values(points, "task"), numeric_values(points, "exponent")
    if min(values) <= 0:
        raise ValueError(f"axis 'exponent' has {min(values):g}; exponents must be above 0")
    if not metrics:
        raise ValueError("metrics is empty; name at least one metric")
    handles = _handles(points, metrics)
    with rc_context(house_style()):
        panels = panel_grid(
            rows=len(metrics),
            columns=len(tasks),
            panel=(2.7, 1.6),
            gap=(0.2, 0.2),
            left=0.95,
            bottom=0.68,
            legend=[handle.get_label() for handle in handles],
            title=title,
        )
        for metric, row in zip(metrics, panels.axes, strict=True):
            everything = np.concatenate([numbers_of(point, metric) for point in points])
            epochs = metric.endswith("_epoch")
            is_fraction = not epochs and ("accuracy" in metric or "explained_variance" in metric)
            place = metric_axis("epochs" if epochs else "number", everything)
            row[0].set_ylabel(NAMES.get(metric, metric))
            for task, axes in zip(tasks, row, strict=True):
                seeds = [
                    None if point is None else numbers_of(point, metric)
                    for point in points_along(points, {"task": task}, "exponent", values.values())
                ]
                _prepare(axes, list(values))
                if is_fraction:
                    percent_axis(axes)
                else:
                    place.prepare(axes)
                _draw_seeds(axes, list(values), seeds, place)
                axes.tick_params(labelleft=axes is row[0], labelbottom=row is panels.axes[-1])
        for task, top, low in zip(tasks, panels.axes[0], panels.axes[-1], strict=True):
            top.set_title(task, size=LABEL_SIZE, pad=6)
            low.set_xlabel("exponent of the distance", labelpad=13)
            _write_reached(
                low,
                list(values),
                points_along(points, {"task": task}, "exponent", values.values()),
                reached,
            )
        panels.add_legend(handles)
        _write(panels.axes[-1][0], "reach 90 %:", 0.0, coordinates="axes fraction", side="right")
    return panels.figure


def _handles(points: Sequence[GridPoint], metrics: Sequence[str]) -> list[Any]:
    """Legend entries: dots, line and band, and hollow dots if there are any."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    seeds = seeds_text(len(point.seeds) for point in points)
    dot: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 3.5}
    handles: list[Any] = [
        Line2D([], [], color=POINT, marker="o", markersize=4.5, linewidth=1.4, label="median"),
        Patch(facecolor=POINT, alpha=0.15, label="quartiles"),
        Line2D([], [], color=POINT, alpha=0.35, label=f"one of {seeds}", **dot),
    ]
    epochs = [metric for metric in metrics if metric.endswith("_epoch")]
    if any(np.isnan(numbers_of(point, metric)).any() for point in points for metric in epochs):
        hollow: dict[str, Any] = {
            "markerfacecolor": "none",
            "markeredgecolor": TEST,
            "markeredgewidth": 0.7,
        }
        handles.append(Line2D([], [], label="one that never reaches 90 %", **dot, **hollow))
    return handles


def _prepare(axes: Axes, values: list[float]) -> None:
    from matplotlib.ticker import NullLocator

    step = _step(values)
    axes.set_xscale("log", base=2)
    axes.set_xlim(values[0] * 2 ** (-0.5 * step), values[-1] * 2 ** (0.5 * step))
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.xaxis.set_minor_locator(NullLocator())


def _step(values: list[float]) -> float:
    """Smallest step between exponents, in powers of two."""
    return float(np.diff(np.log2(values)).min()) if len(values) > 1 else 1.0


def _draw_seeds(
    axes: Axes, values: list[float], seeds: list[Floats | None], place: MetricAxis
) -> None:
    """Draw every seed around its exponent, then the line of medians."""
    reach = DOT_REACH * _step(values)
    for value, of_seeds in zip(values, seeds, strict=True):
        if of_seeds is not None:
            x = np.exp2(side_by_side(np.log2(value), reach, len(of_seeds)))
            place.draw_seeds(axes, x, of_seeds, color=POINT)
    draw_median(axes, values, place.quartiles(seeds), color=POINT, label="median")


def _write_reached(
    axes: Axes, values: list[float], points: list[GridPoint | None], metric: str
) -> None:
    """Write the number of seeds that have the metric below each exponent."""
    for value, point in zip(values, points, strict=True):
        if point is not None:
            epochs = numbers_of(point, metric)
            _write(axes, f"{np.isfinite(epochs).sum()}/{len(epochs)}", value)


def _write(
    axes: Axes, text: str, x: float, *, coordinates: str = "data", side: str = "center"
) -> None:
    axes.annotate(
        text,
        (x, 0.0),
        xycoords=(coordinates, "axes fraction"),
        xytext=(0, -23),
        textcoords="offset points",
        ha=side,
        size=NOTE_SIZE,
        color=MUTED_COLOR,
        annotation_clip=False,
    )
