"""Rows and columns of panels, and the axes, lines and notes that figures share."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from glassbox.plots.arrays import Floats
from glassbox.plots.figure_title import layout_title
from glassbox.plots.style import (
    CHARACTER_WIDTH,
    LABEL_SIZE,
    MUTED_COLOR,
    NOTE_SIZE,
    POINTS_PER_INCH,
    TICK_SIZE,
    new_figure,
)
from glassbox.plots.word_labels import text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


CAPTION_STYLE: dict[str, Any] = {
    "size": LABEL_SIZE,
    "pad": 5,
    "va": "bottom",
    "linespacing": 1.15,
    "parse_math": False,
}


def panel_captions(texts: Sequence[str], width: float) -> tuple[list[str], float]:
    """Titles of panels, wrapped to `width` inches, and inches of the highest."""
    wrapped = [_balanced(text, width) for text in texts]
    most = max(len(lines) for lines in wrapped)
    return ["\n".join(lines) for lines in wrapped], 0.1 + 0.14 * most


def _balanced(text: str, width: float) -> list[str]:
    """The fewest lines that fit into the width, of about equal length."""

    def fits(lines: list[str]) -> bool:
        return all(text_width(line, LABEL_SIZE) <= width * POINTS_PER_INCH for line in lines)

    tried = [textwrap.wrap(text, n, break_long_words=False) for n in range(1, len(text) + 1)]
    fitting = [lines for lines in tried if fits(lines)] or tried[:1] or [[text]]
    return min(fitting, key=len)  # the narrowest of these


MARGIN, LEGEND_LINE = 0.15, 0.15  # inches
DOT_REACH = 0.28  # of the step between neighbors: how far dots are spread to each side
BAND = "line: median, band: quartiles"  # in a legend
LEGEND_HANDLE = 0.42  # inches of a legend entry that are not text: line, gaps


@dataclass(frozen=True)
class Panels:
    """A figure of panels in rows and columns, with room for a legend above them."""

    figure: Figure  # the figure
    axes: list[list[Axes]]  # its panels by row and column
    legend_place: tuple[float, float]  # left and top of the legend, in figure coordinates
    legend_columns: int  # columns in which its entries fit

    def add_legend(self, handles: Sequence[Any]) -> None:
        """Draw the legend, whose labels `panel_grid` got as `legend`."""
        self.figure.legend(
            handles=list(handles),
            loc="upper left",
            bbox_to_anchor=self.legend_place,
            ncols=self.legend_columns,
            borderaxespad=0.0,
            borderpad=0.0,
            labelspacing=0.35,
            columnspacing=1.4,
        )


def panel_grid(
    *,
    rows: int,
    columns: int,
    panel: tuple[float, float],
    gap: tuple[float, float],
    left: float,
    bottom: float,
    right: float = MARGIN,
    caption: float = 0.24,
    legend: Sequence[str] = (),
    title: str = "",
) -> Panels:
    """Create a figure of rows x columns empty panels; all lengths in inches."""
    width = left + columns * panel[0] + (columns - 1) * gap[0] + right
    lines = layout_title(title, [], width - 2 * MARGIN)
    legend_columns = _legend_columns(legend, width - 2 * MARGIN)
    legend_rows = -(-len(legend) // legend_columns)
    header = lines.height + (0.05 if title and legend else 0.0)
    above = header + LEGEND_LINE * legend_rows + (0.05 if legend else 0.0) + caption
    height = above + rows * panel[1] + (rows - 1) * gap[1] + bottom
    figure = new_figure(width, height)
    lines.draw(figure, MARGIN)
    size = (panel[0] / width, panel[1] / height)
    axes = [
        [
            figure.add_axes(
                (
                    (left + column * (panel[0] + gap[0])) / width,
                    1 - (above + row * (panel[1] + gap[1]) + panel[1]) / height,
                    *size,
                )
            )
            for column in range(columns)
        ]
        for row in range(rows)
    ]
    return Panels(figure, axes, (MARGIN / width, 1 - header / height), legend_columns)


def _legend_columns(labels: Sequence[str], width: float) -> int:
    """Number of columns in which the entries fill the fewest rows within `width` inches."""
    letter = CHARACTER_WIDTH * TICK_SIZE / POINTS_PER_INCH
    widths = [LEGEND_HANDLE + letter * len(label) for label in labels]
    for rows in range(1, len(widths) + 1):  # matplotlib fills column by column
        columns = [widths[start : start + rows] for start in range(0, len(widths), rows)]
        if sum(max(column) for column in columns) <= width:
            return len(columns)
    return 1


def percent_axis(axes: Axes, *, labels: bool = True, side: Literal["x", "y"] = "y") -> None:
    """Make an axis from 0 to 100 %, with tick labels only if `labels`."""
    axes.set(**{f"{side}lim": (-0.03, 1.04)})
    ticks = [0, 0.25, 0.5, 0.75, 1.0]
    texts = [f"{100 * tick:.0f} %" if tick else "0" for tick in ticks]
    (axes.set_xticks if side == "x" else axes.set_yticks)(ticks, texts)
    if side == "x":
        axes.tick_params(labelbottom=labels)
    else:
        axes.tick_params(labelleft=labels)
    axes.grid(axis=side)


def fitting_labels(
    axes: Axes, positions: Floats, texts: Sequence[str], order: Sequence[int]
) -> list[int]:
    """Indices of tick labels that fit along the x axis; the first in `order` have priority.

    Positions go from 0 to 1 along the axis.
    """
    inches = axes.get_window_extent().width / axes.figure.dpi
    letter = CHARACTER_WIDTH * TICK_SIZE / POINTS_PER_INCH
    kept: list[int] = []
    for index in order:
        gaps = [abs(positions[index] - positions[other]) * inches for other in kept]
        needed = [letter * (len(texts[index]) + len(texts[other]) + 1) / 2 for other in kept]
        if all(gap >= need for gap, need in zip(gaps, needed, strict=True)):
            kept.append(index)
    return sorted(kept)


def side_by_side(center: float, reach: float, count: int) -> Floats:
    """Positions (S,) of `count` dots around a center, up to `reach` to each side."""
    return np.asarray(center + reach * (np.linspace(-1, 1, count) if count > 1 else np.zeros(1)))


def draw_median(
    axes: Axes,
    x: Sequence[float],
    table: Floats,
    *,
    color: str,
    label: str = "",
    marker: float = 4.5,
    band: float = 0.15,
    linestyle: Any = "-",
) -> None:
    """Draw a line of medians with dots in a band of quartiles; a lone dot has a bar instead."""
    lower, median, upper = table
    axes.fill_between(x, lower, upper, color=color, alpha=band, linewidth=0, zorder=2.2)
    known = np.pad(np.isfinite(median), 1)
    for place in np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:]).tolist():
        ends = [lower[place], upper[place]]
        style: dict[str, Any] = {"color": color, "alpha": 2 * band, "solid_capstyle": "butt"}
        axes.plot([x[place]] * 2, ends, linewidth=3, zorder=2.2, **style)
    axes.plot(
        x,
        median,
        color=color,
        linestyle=linestyle,
        linewidth=1.4,
        marker="o",
        markersize=marker,
        markeredgecolor="white",
        markeredgewidth=min(0.5, marker / 8),
        label=label,
        clip_on=False,  # dots at 100 %
        zorder=3,
    )


def line_handle(color: str, label: str, **style: Any) -> Any:
    """Legend entry of a model: a line with a dot."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, label=label, **{"marker": "o", "markersize": 3.2, **style})


def note(
    axes: Axes, text: str, place: tuple[float, float], where: Any, offset: Any, **style: Any
) -> None:
    """Write muted text at a place in the coordinates `where`, moved by `offset` points."""
    style = {"size": NOTE_SIZE, "color": MUTED_COLOR, "annotation_clip": False, **style}
    axes.annotate(text, place, xycoords=where, xytext=offset, textcoords="offset points", **style)


def note_above(axes: Axes, text: str) -> None:
    """Write a muted line above the panel."""
    note(axes, text, (0.5, 1.0), "axes fraction", (0, 4), ha="center")
