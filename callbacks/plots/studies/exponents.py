"""What the exponent of the harmonic loss does: accuracy, geometry and speed over a sweep of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from callbacks.plots.arrays import Floats, quartiles
from callbacks.plots.colors import POINT, TEST
from callbacks.plots.grid_point import GridPoint
from callbacks.plots.studies.layout import draw_median, panel_grid, share_axis
from callbacks.plots.studies.points import (
    axis_values,
    columns,
    numbers_of,
    numeric_values,
    point_at,
    quartiles_with_never,
)
from callbacks.plots.style import (
    FAINT,
    LABEL_SIZE,
    NOTE_SIZE,
    QUIET,
    house_style,
    log_ticks,
    whole_number,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STRIP = 0.13  # share of an axis of epochs that is given to seeds that never got there
SPREAD = 0.28  # of the step between exponents, over which the seeds stand side by side
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
    """Draw metrics over the exponent: a column of panels for each task, a row for each metric.

    Every seed is a faint dot, the line is the median and the band the quartiles. An epoch that a
    seed never reaches is not dropped: its dot stands hollow in a strip at the top, and counts as
    later than any number, so that a median may stand there too.

    Args:
        points: With the axes "task" and "exponent" (numbers as text, above 0), in any order, and
            the metrics. An exponent without a point leaves a gap in its line.
        title: Of the figure.
        metrics: Names, one a row. One that ends in ``_epoch`` is drawn on a logarithmic axis, and a
            seed without a value is one that never got there; of others such a seed is left out.
        reached: Metric that a seed has once it reaches 90 %; how many do is written below the
            exponents.

    Raises:
        ValueError: An axis or a metric is missing, an exponent is no positive number, or several
            points fall on one place.
    """
    from matplotlib import rc_context

    tasks, values = axis_values(points, "task"), numeric_values(points, "exponent")
    if min(values) <= 0:
        raise ValueError(f"The axis 'exponent' must hold numbers above 0, not {min(values):g}.")
    if not metrics:
        raise ValueError("metrics is empty: name at least one metric to draw over the exponent.")
    with rc_context(house_style()):
        panels = panel_grid(
            rows=len(metrics),
            columns=len(tasks),
            panel=(2.7, 1.6),
            gap=(0.2, 0.2),
            left=0.95,
            bottom=0.68,
            title=title,
        )
        for metric, row in zip(metrics, panels.axes, strict=True):
            everything = np.concatenate([numbers_of(point, metric) for point in points])
            row[0].set_ylabel(NAMES.get(metric, metric))
            for task, axes in zip(tasks, row, strict=True):
                seeds = [
                    None if point is None else numbers_of(point, metric)
                    for point in _along(points, task, values)
                ]
                _prepare(axes, list(values))
                if metric.endswith("_epoch"):
                    _draw_epochs(axes, list(values), seeds, everything)
                else:
                    _draw_values(axes, list(values), seeds, metric, everything)
                axes.tick_params(labelleft=axes is row[0], labelbottom=row is panels.axes[-1])
        for task, top, low in zip(tasks, panels.axes[0], panels.axes[-1], strict=True):
            top.set_title(task, size=LABEL_SIZE, pad=6)
            low.set_xlabel("exponent of the distance", labelpad=13)
            _write_reached(low, list(values), _along(points, task, values), reached)
        _write(panels.axes[-1][0], "reach 90 %:", 0.0, coordinates="axes fraction", side="right")
    return panels.figure


def _along(
    points: Sequence[GridPoint], task: str, values: dict[float, str]
) -> list[GridPoint | None]:
    """The task's points by rising exponent, None where there is none."""
    return [point_at(points, {"task": task, "exponent": text}) for text in values.values()]


def _prepare(axes: Axes, values: list[float]) -> None:
    from matplotlib.ticker import NullLocator

    step = _step(values)
    axes.set_xscale("log", base=2)
    axes.set_xlim(values[0] * 2 ** (-0.5 * step), values[-1] * 2 ** (0.5 * step))
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.xaxis.set_minor_locator(NullLocator())


def _step(values: list[float]) -> float:
    """The smallest step between exponents, in powers of two."""
    return float(np.diff(np.log2(values)).min()) if len(values) > 1 else 1.0


def _spread(values: list[float], place: int, count: int) -> Floats:
    """Places (S,) side by side around an exponent, one for each of `count` seeds."""
    offset = np.linspace(-1, 1, count) if count > 1 else np.zeros(1)
    return np.asarray(values[place] * 2 ** (SPREAD * _step(values) * offset))


def _draw_values(
    axes: Axes, values: list[float], seeds: list[Floats | None], metric: str, everything: Floats
) -> None:
    if "accuracy" in metric or "explained_variance" in metric:
        share_axis(axes)
    else:
        known = everything[np.isfinite(everything)]
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        margin = 0.05 * (high - low) or 0.5
        axes.set_ylim(low - margin, high + margin)
        axes.grid(axis="y")
    for place, found in enumerate(seeds):
        if found is not None:
            _dots(axes, _spread(values, place, len(found)), found)
    draw_median(axes, values, quartiles(columns(seeds)), color=POINT, label="median")


def _draw_epochs(
    axes: Axes, values: list[float], seeds: list[Floats | None], everything: Floats
) -> None:
    """Epochs on a logarithmic axis that all tasks share, with a strip for never."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    known = np.maximum(everything[np.isfinite(everything)], 1)
    low, high = (known.min() / 1.5, known.max() * 1.5) if len(known) else (1.0, 1000.0)
    end = high * (high / low) ** (STRIP / (1 - STRIP))
    never = float(np.sqrt(high * end))
    axes.set_yscale("log")
    axes.set_ylim(low, end)
    ticks = [tick for tick in log_ticks(low, high) if tick < high * (low / high) ** 0.05]
    axes.yaxis.set_major_locator(FixedLocator([*ticks, never]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda tick, _: whole_number(tick) if tick <= high else "never")
    )
    axes.grid(axis="y")
    axes.axhspan(high, end, color=FAINT, zorder=0, linewidth=0)
    table = np.full((3, len(values)), np.nan)
    for place, found in enumerate(seeds):
        if found is None or len(found) == 0:
            continue
        later = quartiles_with_never(found)
        table[:, place] = np.where(np.isfinite(later), np.maximum(later, 1), never)
        x = _spread(values, place, len(found))
        got = np.isfinite(found)
        _dots(axes, x[got], np.maximum(found[got], 1))
        axes.scatter(
            x[~got],
            np.full(int((~got).sum()), never),
            s=11,
            facecolors="none",
            edgecolors=TEST,
            linewidths=0.7,
            zorder=2.5,
            label="never",
        )
    draw_median(axes, values, table, color=POINT, label="median")


def _dots(axes: Axes, x: Floats, y: Floats) -> None:
    axes.scatter(x, y, s=11, color=POINT, alpha=0.35, linewidths=0, zorder=2.5, clip_on=False)


def _write_reached(
    axes: Axes, values: list[float], found: list[GridPoint | None], metric: str
) -> None:
    """How many seeds have the metric, below the number of each exponent."""
    for value, point in zip(values, found, strict=True):
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
        color=QUIET,
        annotation_clip=False,
    )
