"""The look that all figures share: colors, font sizes, spines, and helpers to lay out and label."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Style = dict[str, Any]  # keyword arguments of a matplotlib artist

TEXT_COLOR = "#262626"  # text
MUTED_COLOR = "#6f6f6f"  # secondary text
LINE = "#b8b8b8"  # color of spines and of edges of a graph
GRID_COLOR = "#ececec"  # grids, strips
DASHED = (0, (4, 3))  # reference lines

TITLE_SIZE = 10.0
LABEL_SIZE = 8.5
TICK_SIZE = 7.5
NOTE_SIZE = 7.0

POINTS_PER_INCH = 72.0
CHARACTER_WIDTH = 0.6  # of a DejaVu Sans letter, in ems; ordinary text is narrower


def house_style(*, box: bool = False) -> dict[Any, Any]:
    """Matplotlib settings of every figure, for use as `with rc_context(house_style()):`.

    Args:
        box: Frame the axes on all four sides instead of left and below.
    """
    return {
        "figure.dpi": 150,
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "font.family": "DejaVu Sans",  # ships with matplotlib, so figures agree across machines
        "font.size": LABEL_SIZE,
        "text.color": TEXT_COLOR,
        "axes.edgecolor": LINE,
        "axes.linewidth": 0.6,
        "axes.labelcolor": TEXT_COLOR,
        "axes.labelsize": LABEL_SIZE,
        "axes.titlesize": TITLE_SIZE,
        "axes.titlelocation": "left",
        "axes.titlepad": 8.0,
        "axes.spines.top": box,
        "axes.spines.right": box,
        "axes.axisbelow": True,
        "grid.color": GRID_COLOR,
        "grid.linewidth": 0.6,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": TEXT_COLOR,
        "ytick.labelcolor": TEXT_COLOR,
        "xtick.labelsize": TICK_SIZE,
        "ytick.labelsize": TICK_SIZE,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.minor.width": 0.4,
        "ytick.minor.width": 0.4,
        "legend.fontsize": TICK_SIZE,
        "legend.frameon": False,
        "legend.handlelength": 1.6,
        "lines.linewidth": 1.6,
        "lines.solid_capstyle": "round",
    }


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of width × height inches on the Agg canvas, not registered with pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def place_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes of a fixed size, `left` and `top` inches from the figure's upper left corner."""
    x, y = figure.get_size_inches()
    return figure.add_axes((left / x, 1 - (top + height) / y, width / x, height / y))


def wrap_title(title: str, width: float, size: float = TITLE_SIZE) -> list[str]:
    """The lines of a title of the given font size that fit into `width` inches."""
    characters = max(8, int(width * POINTS_PER_INCH / (CHARACTER_WIDTH * size)))
    return textwrap.wrap(title, characters)


def shorten(text: str, width: float, size: float) -> str:
    """The text, cut with an ellipsis where it would be wider than `width` inches."""
    characters = max(4, int(width * POINTS_PER_INCH / (CHARACTER_WIDTH * size)))
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"


def write_above(
    axes: Axes,
    text: str,
    *,
    align: Literal["left", "center", "right"] = "left",
    offset: float = 5.0,
    size: float = NOTE_SIZE - 0.5,
    color: str = MUTED_COLOR,
    bold: bool = False,
) -> None:
    """Write a line of text above the axes, `offset` typographic points from their edge."""
    axes.annotate(
        text,
        ({"left": 0.0, "center": 0.5, "right": 1.0}[align], 1),
        xycoords="axes fraction",
        xytext=(0, offset),
        textcoords="offset points",
        ha=align,
        va="baseline",
        size=size,
        color=color,
        weight="bold" if bold else "normal",
        annotation_clip=False,
        parse_math=False,
    )


def balanced_columns(count: int, limit: int) -> int:
    """Number of columns, at most `limit`, for `count` panels in rows of about the same length."""
    rows = math.ceil(count / max(1, limit))
    return math.ceil(count / rows)


def remove_unused(panels: NDArray[np.object_], count: int) -> None:
    """Remove all but the first `count` axes of an array of panels."""
    for axes in panels.flat[count:]:
        axes.remove()


def index_ticks(size: int, limit: int) -> range:
    """At most `limit` round numbers among 0 to `size` - 1, evenly spaced from 0."""
    steps = (step * 10**power for power in range(9) for step in (1, 2, 5))
    return range(0, size, next(step for step in steps if size <= limit * step))


def log_ticks(low: float, high: float, least: float = 1.0) -> list[float]:
    """Round numbers between two limits on a log axis: 1, 10, 100, or 1, 2, 5, 10 on a short one.

    None is below `least`: there is no epoch before 1.
    """
    steps = (1, 2, 5) if high < 300 * low else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in steps]
    return [tick for tick in ticks if max(low, least) <= tick <= high]


def percent_ticks(axis: Axis) -> None:
    """Quarters of an axis from 0 to 1, written in percent."""
    axis.set_ticks([0, 0.25, 0.5, 0.75, 1.0], labels=["0", "25 %", "50 %", "75 %", "100 %"])


def whole_number(value: float, _position: int | None = None) -> str:
    """Tick text of an epoch: 1,000 rather than 10^3."""
    return f"{value:,.0f}"
