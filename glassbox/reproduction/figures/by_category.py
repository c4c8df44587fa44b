"""Metrics of named settings, such as loss heads: a row per name, a dot per seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from glassbox.plots.colors import POINT, model_colors
from glassbox.plots.style import (
    MUTED_COLOR,
    POINTS_PER_INCH,
    TICK_SIZE,
    house_style,
)
from glassbox.plots.word_labels import text_width
from glassbox.reproduction.figures.metric_axis import MetricAxis, metric_axes
from glassbox.reproduction.figures.panel_grid import (
    CAPTION_STYLE,
    DOT_REACH,
    line_handle,
    note,
    panel_captions,
    panel_grid,
    side_by_side,
)
from glassbox.reproduction.figures.select_points import axis_values, numbers_of, point_at
from glassbox.reproduction.grid_point import GridPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, GAP = 1.55, 0.42  # inches of a panel, and between panels
ROW, HIGH_ROW, MAX_HIGH_ROWS = 0.21, 0.34, 6  # inches of a row, of one among few
TICK = 0.4  # of a row: how far the bar of a median reaches to each side
NOTE = "dot: a seed, bar: median"
COUNT = "n/N: seeds with a value"


def by_category(
    points: Sequence[GridPoint],
    *,
    rows: str,
    metrics: Mapping[str, str],
    title: str = "",
    scales: Mapping[str, str] | None = None,
    groups: Mapping[str, str] | None = None,
    where: Mapping[str, str] | None = None,
) -> Figure:
    """Draw a panel for each metric with a row for each named setting.

    Every seed is a faint dot, the upright bar is the median. A missing epoch is a hollow dot in a
    strip on the right, and counts as later than any number. Where seeds have no value, the number
    of those that have one stands beside the row.

    Args:
        points: With the axis `rows` and the metrics.
        rows: The axis whose values are the rows, in the order of the study.
        metrics: Name -> title of its panel.
        scales: Name -> ``share`` (percent; over its own range if all seeds are above 90 %),
            ``log``, ``epochs``, or ``delays`` (epochs that may be 0); others are plain numbers.
        groups: Part of a row's name -> its group in the legend. The first part that a name contains
            decides the row's color; an empty part matches every name. Other rows are gray.
        where: Axis -> value of the points that are drawn, all by default; added to the title.
    """
    from matplotlib import rc_context

    where = where or {}
    points = [point for point in points if where.items() <= point.labels.items()]
    title = ", ".join(filter(None, [title, *(f"{axis} {value}" for axis, value in where.items())]))
    names = axis_values(points, rows)
    drawn = [point for name in names if (point := point_at(points, {rows: name})) is not None]
    axes_of = metric_axes(points, metrics, scales)
    kinds = [_group(name, groups or {}) for name in names]
    shown = [kind for kind in dict.fromkeys(kinds) if kind is not None]
    legend = dict(zip(shown, model_colors(shown), strict=True))
    colors = [
        legend[kind] if kind is not None else MUTED_COLOR if groups else POINT for kind in kinds
    ]
    incomplete = any(
        not np.isfinite(numbers_of(point, metric)).all() for point in drawn for metric in metrics
    )
    texts = [*legend, f"{NOTE}, {COUNT}" if incomplete else NOTE]
    captions, height = panel_captions(list(metrics.values()), WIDTH + GAP - 0.1)
    widest = max(text_width(name, TICK_SIZE) for name in names) / POINTS_PER_INCH
    with rc_context(house_style()):
        panels = panel_grid(
            rows=1,
            columns=len(metrics),
            panel=(WIDTH, len(names) * (ROW if len(names) > MAX_HIGH_ROWS else HIGH_ROW)),
            gap=(GAP, 0.0),
            left=widest + 0.25,
            right=GAP,
            bottom=0.32,
            caption=height,
            legend=texts,
            title=title,
        )
        row = panels.axes[0]
        for metric, caption, axes in zip(metrics, captions, row, strict=True):
            axes.set_title(caption, **CAPTION_STYLE)
            axes.set_ylim(len(names) - 0.5, -0.5)
            axes.set_yticks(range(len(names)), names)
            axes.tick_params(axis="y", length=0, labelleft=axes is row[0])
            axes_of[metric].prepare(axes, "x")
            axes.grid(axis="y")
            for place, (point, color) in enumerate(zip(drawn, colors, strict=True)):
                _draw_row(axes, axes_of[metric], place, point, metric, color)
        entries = {**legend, texts[-1]: MUTED_COLOR if legend else POINT}
        style: dict[str, Any] = {"linestyle": "", "markersize": 4}
        panels.add_legend([line_handle(color, name, **style) for name, color in entries.items()])
    return panels.figure


def _group(name: str, groups: Mapping[str, str]) -> str | None:
    """Group of a row; None if it has none."""
    return next((group for part, group in groups.items() if part in name), None)


def _draw_row(
    axes: Axes, axis: MetricAxis, place: int, point: GridPoint, metric: str, color: str
) -> None:
    values = numbers_of(point, metric)
    across = side_by_side(place, DOT_REACH, len(values))
    axis.draw_seeds(axes, across, values, color=color, side="x", never_color=color)
    median = axis.quartiles([values])[1, 0]
    if np.isfinite(median):
        ends = [place - TICK, place + TICK]
        style: dict[str, Any] = {"linewidth": 1.8, "solid_capstyle": "butt", "clip_on": False}
        axes.plot([median, median], ends, color=color, label="median", zorder=3, **style)
    known = int(np.isfinite(values).sum())
    if known < len(values):
        where = ("axes fraction", "data")
        note(axes, f"{known}/{len(values)}", (1.0, place), where, (3, 0), va="center")
