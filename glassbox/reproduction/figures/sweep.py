"""Metrics over an axis of numbers, such as sparsity: seeds, medians, a line per model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from glassbox.plots.arrays import Floats
from glassbox.plots.colors import POINT, model_colors
from glassbox.plots.style import MUTED_COLOR, house_style
from glassbox.reproduction.figures.metric_axis import MetricAxis, metric_axes
from glassbox.reproduction.figures.panel_grid import (
    CAPTION_STYLE,
    DOT_REACH,
    draw_median,
    fitting_labels,
    line_handle,
    panel_captions,
    panel_grid,
    side_by_side,
)
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

PANEL, GAP, RIGHT = (2.75, 1.5), 0.6, 0.45  # inches of a panel, between columns, beside them
MARGIN = 0.03  # of the axis, on either side of its numbers, at least
MAX_REACH = 0.12  # of the axis: largest distance of a dot from its number
NOTE = "dot: a seed, line: median, band: quartiles"


class _Spacing(NamedTuple):
    """Transform of an axis of numbers, and the open interval of numbers that it allows."""

    along: Callable[[Floats], Floats]
    low: float
    high: float
    allowed: str


SPACINGS = {
    "linear": _Spacing(lambda values: values, -np.inf, np.inf, "any number"),
    "log": _Spacing(np.log10, 0.0, np.inf, "above 0"),
    # 1 / (1 - S) on a logarithmic axis, as Elhage et al. (2022) draw sparsities.
    "sparsity": _Spacing(lambda values: -np.log10(1 - values), -np.inf, 1.0, "below 1"),
}


def sweep(
    points: Sequence[GridPoint],
    *,
    along: str,
    metrics: Mapping[str, str],
    title: str = "",
    lines: str | None = None,
    panels: str | None = None,
    scales: Mapping[str, str] | None = None,
    spacing: str = "linear",
    label: str = "",
    columns: int = 2,
) -> Figure:
    """Draw metrics over an axis of numbers, a panel per metric.

    Every seed is a faint dot, the line is the median and the band the quartiles. Several lines are
    shifted a little, so that equal medians do not hide one another. A missing epoch is a hollow dot
    in a strip at the top, and counts as later than any number.

    Args:
        points: With the axis `along` (numbers as text), that of `lines`, and the metrics, in any
            order. A missing point leaves a gap in its line; a seed without a value is left out,
            except for epochs.
        along: The axis of numbers.
        metrics: Name -> title of its panel; row by row.
        lines: The axis with a line for each of its values; None for one line.
        panels: The axis with a panel for each of its values in place of one for all of them.
        scales: Name -> ``share`` (percent), ``log``, ``epochs``, or ``delays`` (epochs that may be
            0); others are plain numbers.
        spacing: ``linear``, ``log``, or ``sparsity`` for the logarithm of 1 / (1 - S).
        label: Of the axis of numbers, by default its name.
        columns: Largest number of columns.
    """
    from matplotlib import rc_context

    numbers = numeric_values(points, along)
    names = axis_values(points, lines) if lines is not None else [""]
    x = _places(list(numbers), along, spacing)
    axes_of = metric_axes(points, metrics, scales)
    if columns < 1:
        raise ValueError(f"columns is {columns}; it must be at least 1")
    colors = model_colors(names) if lines is not None else [POINT]
    parts: list[dict[str, str]] = [{}]
    if panels is not None:
        parts = [{panels: value} for value in axis_values(points, panels)]
    shown = [(metric, part) for metric in metrics for part in parts]
    titles = [": ".join([*part.values(), metrics[metric]]) for metric, part in shown]
    columns = min(columns, len(shown))
    captions, height = panel_captions(titles, PANEL[0] + RIGHT - 0.12)
    with rc_context(house_style()):
        grid = panel_grid(
            rows=-(-len(shown) // columns),
            columns=columns,
            panel=PANEL,
            gap=(GAP, 0.3 + height),
            left=0.6,
            right=RIGHT,
            bottom=0.48,
            caption=height,
            legend=[*names, NOTE] if lines is not None else [NOTE],
            title=title,
        )
        flat = [axes for row in grid.axes for axes in row]
        for axes in flat[len(shown) :]:
            axes.remove()
        for number, ((metric, part), caption) in enumerate(zip(shown, captions, strict=True)):
            axes = flat[number]
            axes.set_title(caption, **CAPTION_STYLE)
            axes_of[metric].prepare(axes)
            _prepare(axes, x, list(numbers.values()))
            for place, (name, color) in enumerate(zip(names, colors, strict=True)):
                labels = part if lines is None else {**part, lines: name}
                seeds = [
                    None if point is None else numbers_of(point, metric)
                    for point in points_along(points, labels, along, numbers.values())
                ]
                _draw_line(axes, axes_of[metric], x, seeds, name, color, (place, len(names)))
            if number + columns >= len(shown):  # nothing below it
                axes.set_xlabel(label or along)
        entries = [] if lines is None else list(zip(names, colors, strict=True))
        entries.append((NOTE, POINT if lines is None else MUTED_COLOR))
        grid.add_legend([line_handle(color, name, markersize=4) for name, color in entries])
    return grid.figure


def _places(numbers: list[float], axis: str, spacing: str) -> Floats:
    """Positions (N,) of the numbers along the axis, rising."""
    if spacing not in SPACINGS:
        raise ValueError(f"spacing is {spacing!r}; choose one of {', '.join(SPACINGS)}")
    chosen = SPACINGS[spacing]
    for number in numbers:
        if not chosen.low < number < chosen.high:
            raise ValueError(
                f"axis {axis!r} has {number:g}, but spacing {spacing!r} needs numbers "
                f"{chosen.allowed}; choose another"
            )
    return chosen.along(np.asarray(numbers))


def _reach(x: Floats) -> float:
    """Largest distance of a dot from its number."""
    step = float(np.diff(x).min()) if len(x) > 1 else 1.0
    return min(DOT_REACH * step, MAX_REACH * float(x[-1] - x[0]) if len(x) > 1 else step)


def _prepare(axes: Axes, x: Floats, texts: list[str]) -> None:
    """Set the axis of numbers, with labels where there is room: round numbers first."""
    margin = max(1.5 * _reach(x), MARGIN * float(x[-1] - x[0]))
    low, high = x[0] - margin, x[-1] + margin
    axes.set_xlim(low, high)
    order = sorted(range(len(x)), key=lambda place: (len(texts[place].strip("0.")), -place))
    shown = fitting_labels(axes, (x - low) / (high - low), texts, order)
    axes.set_xticks([x[place] for place in shown], [texts[place] for place in shown])
    axes.set_xticks(x, minor=True)


def _draw_line(
    axes: Axes,
    axis: MetricAxis,
    x: Floats,
    seeds: list[Floats | None],
    name: str,
    color: str,
    lane: tuple[int, int],
) -> None:
    """Draw seeds and medians of one line, in lane i of n around each number."""
    place, count = lane
    reach = _reach(x)
    centers = x + reach * (2 * place + 1 - count) / count
    width = reach * (0.8 / count if count > 1 else 1)
    for center, values in zip(centers, seeds, strict=True):
        if values is not None:
            across = side_by_side(center, width, len(values))
            axis.draw_seeds(axes, across, values, color=color, never_color=color)
    label = name or "median"
    draw_median(axes, centers.tolist(), axis.quartiles(seeds), color=color, label=label)
