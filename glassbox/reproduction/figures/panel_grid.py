"""Rows and columns of panels, placed in inches, and the axes and lines that figures share."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from glassbox.plots.arrays import Floats
from glassbox.plots.style import (
    CHARACTER_WIDTH,
    LABEL_SIZE,
    MUTED_COLOR,
    NOTE_SIZE,
    POINTS_PER_INCH,
    TICK_SIZE,
    TITLE_SIZE,
    new_figure,
    wrap_title,
)
from glassbox.plots.word_labels import text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Captions:
    """What stands above panels, wrapped to their width.

    Attributes:
        texts: With line feeds.
        height: Inches that the highest of them takes.
    """

    texts: list[str]
    height: float

    @property
    def style(self) -> dict[str, Any]:
        """Options of `Axes.set_title`."""
        return {
            "size": LABEL_SIZE,
            "pad": 5,
            "va": "bottom",
            "linespacing": 1.15,
            "parse_math": False,
        }


def panel_captions(texts: Sequence[str], width: float) -> Captions:
    """Captions of panels with `width` inches for each."""
    wrapped = [_balanced(text, width) for text in texts]
    most = max(len(lines) for lines in wrapped)
    return Captions(["\n".join(lines) for lines in wrapped], 0.1 + 0.14 * most)


def _balanced(text: str, width: float) -> list[str]:
    """As few lines as fit into the width, about equally long: no word stands alone below."""

    def fits(lines: list[str]) -> bool:
        return all(text_width(line, LABEL_SIZE) <= width * POINTS_PER_INCH for line in lines)

    # Words stay whole, so that one that is too wide leaves no choice.
    tried = [textwrap.wrap(text, n, break_long_words=False) for n in range(1, len(text) + 1)]
    fitting = [lines for lines in tried if fits(lines)] or tried[:1] or [[text]]
    return min(fitting, key=len)  # the first of them is the narrowest


MARGIN, HEADING_LINE, LEGEND_LINE = 0.15, 0.19, 0.15  # inches
SPREAD = 0.28  # of the step between neighbors, over which dots stand to each side
BAND = "line: median, band: quartiles"  # in a legend
LEGEND_HANDLE = 0.42  # inches of a legend entry that are not text: line, gaps


@dataclass(frozen=True)
class Panels:
    """A figure of panels in rows and columns, with room for a legend above them.

    Attributes:
        figure: The figure.
        axes: Its panels by row and column.
        legend_place: Left and top of the legend, as shares of the figure.
        legend_columns: In which its entries fit.
    """

    figure: Figure
    axes: list[list[Axes]]
    legend_place: tuple[float, float]
    legend_columns: int

    def add_legend(self, handles: Sequence[Any]) -> None:
        """Draw the legend; the handles carry their labels, which `panel_grid` was told."""
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
    """An empty figure of rows x columns panels; all lengths in inches.

    Args:
        rows: Of panels.
        columns: Of panels.
        panel: Width and height of a panel.
        gap: Between columns, and between rows.
        left: Room for the labels of the y axes.
        bottom: Room for the labels of the x axes.
        right: Room on the right.
        caption: Room for the names above the first row.
        legend: Labels of the legend between the title and the panels, in as many rows as it takes.
        title: Of the whole figure, on the left, in as many lines as it takes.
    """
    width = left + columns * panel[0] + (columns - 1) * gap[0] + right
    heading = wrap_title(title, width - 2 * MARGIN)
    legend_columns = _legend_columns(legend, width - 2 * MARGIN)
    legend_rows = -(-len(legend) // legend_columns)
    header = MARGIN + HEADING_LINE * len(heading) + (0.05 if heading and legend else 0.0)
    above = header + LEGEND_LINE * legend_rows + (0.05 if legend else 0.0) + caption
    height = above + rows * panel[1] + (rows - 1) * gap[1] + bottom
    figure = new_figure(width, height)
    for number, line in enumerate(heading):
        y = 1 - (MARGIN + HEADING_LINE * number) / height
        figure.text(MARGIN / width, y, line, size=TITLE_SIZE, va="top")
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
    """In how many columns the entries fill the fewest rows that fit into `width` inches."""
    letter = CHARACTER_WIDTH * TICK_SIZE / POINTS_PER_INCH
    widths = [LEGEND_HANDLE + letter * len(label) for label in labels]
    for rows in range(1, len(widths) + 1):  # matplotlib fills column by column
        columns = [widths[start : start + rows] for start in range(0, len(widths), rows)]
        if sum(max(column) for column in columns) <= width:
            return len(columns)
    return 1


def share_axis(axes: Axes, *, labels: bool = True, side: Literal["x", "y"] = "y") -> None:
    """An axis from 0 to 100 %, with its numbers only where `labels`."""
    axes.set(**{f"{side}lim": (-0.03, 1.04)})
    ticks = [0, 0.25, 0.5, 0.75, 1.0]
    texts = [f"{100 * tick:.0f} %" if tick else "0" for tick in ticks]
    (axes.set_xticks if side == "x" else axes.set_yticks)(ticks, texts)
    if side == "x":
        axes.tick_params(labelbottom=labels)
    else:
        axes.tick_params(labelleft=labels)
    axes.grid(axis=side)


def fitting_labels(shares: Sequence[float], texts: Sequence[str], inches: float) -> list[int]:
    """Which tick labels can stand side by side along an axis, by index; earlier ones come first.

    Args:
        shares: Their places, from 0 to 1 along the axis.
        texts: The labels.
        inches: Length of the axis.
    """
    letter = CHARACTER_WIDTH * TICK_SIZE / POINTS_PER_INCH
    kept: list[int] = []
    for index, (share, text) in enumerate(zip(shares, texts, strict=True)):
        needed = [letter * (len(text) + len(texts[other]) + 1) / 2 for other in kept]
        gaps = [abs(share - shares[other]) * inches for other in kept]
        if all(gap >= need for gap, need in zip(gaps, needed, strict=True)):
            kept.append(index)
    return kept


def side_by_side(center: float, reach: float, count: int) -> Floats:
    """Places (S,) of `count` dots from one side of a center to the other, `reach` to each."""
    return np.asarray(center + reach * (np.linspace(-1, 1, count) if count > 1 else np.zeros(1)))


def draw_median(
    axes: Axes,
    x: Sequence[float],
    table: Floats,
    *,
    color: str,
    label: str,
    marker: float = 4.5,
    band: float = 0.15,
) -> None:
    """A line of medians with a dot at each, in the band of the quartiles.

    A dot between two gaps has no band, which is drawn from place to place; it has a bar.

    Args:
        axes: Drawn into.
        x: N places, rising.
        table: Lower quartile, median and upper quartile (3, N); nan leaves a gap.
        color: Of the line and the band.
        label: Of the line in a legend.
        marker: Diameter of the dots in points.
        band: Opacity of the band.
    """
    lower, median, upper = table
    axes.fill_between(x, lower, upper, color=color, alpha=band, linewidth=0, zorder=2.2)
    known = np.pad(np.isfinite(median), 1)
    for place in np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:]).tolist():
        axes.plot(
            [x[place]] * 2, [lower[place], upper[place]], color=color, alpha=2 * band, linewidth=3,
            solid_capstyle="butt", zorder=2.2,
        )  # fmt: skip
    axes.plot(
        x,
        median,
        color=color,
        linewidth=1.4,
        marker="o",
        markersize=marker,
        markeredgecolor="white",
        markeredgewidth=min(0.5, marker / 8),  # of a small dot it would leave too little
        label=label,
        clip_on=False,  # a dot at 100 % stands on the edge
        zorder=3,
    )


def line_handle(color: str, label: str) -> Any:
    """A model's entry in a legend: a line with a dot."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, marker="o", markersize=3.2, label=label)


def note_above(axes: Axes, text: str) -> None:
    """A quiet line above the panel."""
    axes.annotate(
        text,
        (0.5, 1.0),
        xycoords="axes fraction",
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        size=NOTE_SIZE,
        color=MUTED_COLOR,
        annotation_clip=False,
    )
