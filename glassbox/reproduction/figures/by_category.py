"""Metrics of named settings, such as loss heads: a row for each name, a dot for each seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from glassbox.plots.colors import POINT, model_colors
from glassbox.plots.style import (
    MUTED_COLOR,
    NOTE_SIZE,
    POINTS_PER_INCH,
    TICK_SIZE,
    house_style,
)
from glassbox.plots.word_labels import text_width
from glassbox.reproduction.figures.metric_axis import MetricAxis, metric_axes
from glassbox.reproduction.figures.panel_grid import (
    SPREAD,
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
ROW, HIGH_ROW, MANY = 0.21, 0.34, 6  # inches of a row, of one among few; how many are few
TICK = 0.4  # of a row, that the mark of a median reaches to either side
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
    """Draw metrics of named settings side by side, a panel for each metric and a row for each name.

    Every seed is a faint dot and the upright bar is the median. An epoch that a seed never reaches
    stands hollow in a strip on the right, and counts as later than any number. Where seeds have no
    value, how many have one is written beside the row.

    Args:
        points: With the axis `rows` and the metrics.
        rows: The axis whose values are the rows, in the order of the study.
        metrics: Name -> what the panel is called; panels stand in this order.
        title: Of the figure.
        scales: Name -> ``share`` (percent; over its own range where all seeds are above 90 %),
            ``log``, ``epochs``, or ``delays`` of epochs, which may be 0, for metrics that are no
            plain numbers.
        groups: Part of a row's name -> what the legend calls such rows. The first that a name
            contains gives the row its color; an empty part is in every name. Other rows are gray.
        where: Axis -> the value of the points that are drawn, of all if there is none; told beside
            the title.

    Raises:
        ValueError: The axis or a metric is missing, several points have the same name, no point is
            left, or an option cannot be.
    """
    from matplotlib import rc_context

    where = where or {}
    points = [point for point in points if where.items() <= point.labels.items()]
    title = ", ".join(filter(None, [title, *(f"{axis} {value}" for axis, value in where.items())]))
    names = axis_values(points, rows)
    found = [point for name in names if (point := point_at(points, {rows: name})) is not None]
    axes_of = metric_axes(points, metrics, scales)
    kinds = [_group(name, groups or {}) for name in names]
    shown = [kind for kind in dict.fromkeys(kinds) if kind is not None]
    legend = dict(zip(shown, model_colors(shown), strict=True))
    colors = [
        legend[kind] if kind is not None else MUTED_COLOR if groups else POINT for kind in kinds
    ]
    incomplete = any(
        not np.isfinite(numbers_of(point, metric)).all() for point in found for metric in metrics
    )
    texts = [*legend, f"{NOTE}, {COUNT}" if incomplete else NOTE]
    captions = panel_captions(list(metrics.values()), WIDTH + GAP - 0.1)
    widest = max(text_width(name, TICK_SIZE) for name in names) / POINTS_PER_INCH
    with rc_context(house_style()):
        panels = panel_grid(
            rows=1,
            columns=len(metrics),
            panel=(WIDTH, len(names) * (ROW if len(names) > MANY else HIGH_ROW)),
            gap=(GAP, 0.0),
            left=widest + 0.25,
            right=GAP,
            bottom=0.32,
            caption=captions.height,
            legend=texts,
            title=title,
        )
        row = panels.axes[0]
        for metric, caption, axes in zip(metrics, captions.texts, row, strict=True):
            axes.set_title(caption, **captions.style)
            axes.set_ylim(len(names) - 0.5, -0.5)
            axes.set_yticks(range(len(names)), names)
            axes.tick_params(axis="y", length=0, labelleft=axes is row[0])
            axes_of[metric].prepare(axes, "x")
            axes.grid(axis="y")
            for place, (point, color) in enumerate(zip(found, colors, strict=True)):
                _draw_row(axes, axes_of[metric], place, point, metric, color)
        panels.add_legend(_handles(legend, texts[-1]))
    return panels.figure


def _group(name: str, groups: Mapping[str, str]) -> str | None:
    """What the legend calls a row; None where it is of no group."""
    return next((group for part, group in groups.items() if part in name), None)


def _draw_row(
    axes: Axes, axis: MetricAxis, place: int, point: GridPoint, metric: str, color: str
) -> None:
    values = numbers_of(point, metric)
    across = side_by_side(place, SPREAD, len(values))
    axis.draw_seeds(axes, across, values, color=color, side="x", never_color=color)
    median = axis.quartiles([values])[1, 0]
    if np.isfinite(median):
        axes.plot(
            [median, median], [place - TICK, place + TICK], color=color, linewidth=1.8,
            solid_capstyle="butt", label="median", zorder=3, clip_on=False,
        )  # fmt: skip
    known = int(np.isfinite(values).sum())
    if known < len(values):
        axes.annotate(
            f"{known}/{len(values)}", (1.0, place), xycoords=("axes fraction", "data"),
            xytext=(3, 0), textcoords="offset points", va="center", size=NOTE_SIZE, color=MUTED_COLOR,
            annotation_clip=False,
        )  # fmt: skip


def _handles(legend: Mapping[str, str], note: str) -> list[Any]:
    """Entries of the legend: the groups, and how to read a row."""
    from matplotlib.lines import Line2D

    colors = {**legend, note: MUTED_COLOR if legend else POINT}
    return [
        Line2D([], [], color=color, label=label, linestyle="", marker="o", markersize=4)
        for label, color in colors.items()
    ]
