"""Epochs at which models fit train inputs and generalize to test inputs, a panel per task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from glassbox.plots.arrays import Floats
from glassbox.plots.colors import model_colors
from glassbox.plots.generalization import (
    add_never_tick,
    epoch_limits,
    prepare_epoch_axes,
    spread_over_strip,
)
from glassbox.plots.style import (
    GRID_COLOR,
    LABEL_SIZE,
    MUTED_COLOR,
    NOTE_SIZE,
    TEXT_COLOR,
    house_style,
)
from glassbox.reproduction.figures.panel_grid import panel_grid
from glassbox.reproduction.figures.seed_counts import seed_counts
from glassbox.reproduction.figures.select_points import axis_values, numbers_of, point_at
from glassbox.reproduction.grid_point import GridPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN, TEST = "generalization/train_epoch", "generalization/test_epoch"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LANE = 0.045  # fraction of an axis for each model in the strip of runs that never reach 90 %
DIAGONAL, HOLLOW = "same epoch", "hollow: never on test inputs"
DASHED: dict[str, Any] = {"color": MUTED_COLOR, "linewidth": 0.8, "linestyle": (0, (4, 3))}
FIRST = "first of 20 epochs above 90 %"


class Marker(NamedTuple):
    """How the runs of one model are drawn."""

    color: str
    shape: str
    lane: float  # position across the strip, 0 to 1


class Span(NamedTuple):
    """Range of epochs of both axes, low to high, and a strip from there to the end."""

    low: float
    high: float
    end: float
    right: bool  # whether there is also a strip on the right

    def lane(self, fraction: float) -> float:
        """Epoch at a position across the strip, 0 to 1."""
        return float(self.high * (self.end / self.high) ** fraction)


def generalization_by_model(
    points: Sequence[GridPoint], *, title: str = "", panels: str = "task"
) -> Figure:
    """Draw the epoch at which runs generalize over the epoch at which they fit train inputs.

    After Figure 3(c) of the harmonic-loss paper, with its swapped axis labels corrected. Axes are
    logarithmic and not clipped. Runs that never reach 90 % are hollow in a strip along the top (and
    on the right, if they never fit their train inputs), a lane per model, and are counted. Runs on
    the dashed line generalize as they learn; runs above it grok. The legend has the number of seeds
    of each model.

    Args:
        points: With the axes "model" and that of the panels, and the metrics
            ``generalization/train_epoch`` and ``generalization/test_epoch`` (the first of 20 epochs
            above 90 %, as the probe Generalization counts by default), nan = never; epochs below 1
            are drawn at 1.
        panels: The axis that has a panel for each of its values.
    """
    from matplotlib import rc_context
    from matplotlib.lines import Line2D

    places, models = axis_values(points, panels), axis_values(points, "model")
    markers = [
        Marker(color, MARKERS[index % len(MARKERS)], (len(models) - index - 0.5) / len(models))
        for index, color in enumerate(model_colors(models))
    ]
    train = np.concatenate([numbers_of(point, TRAIN) for point in points])
    test = np.concatenate([numbers_of(point, TEST) for point in points])
    epochs = np.concatenate([train, test])
    low, high = epoch_limits(np.maximum(epochs[np.isfinite(epochs)], 1))
    strip = float(np.clip(LANE * len(models), 0.1, 0.3)) if np.isnan(epochs).any() else 0.0
    end = high * (high / low) ** (strip / (1 - strip))
    span = Span(low, high, end, right=bool(np.isnan(train).any()))
    side = 2.05
    counts = seed_counts(points, models)
    mark = f"a mark: one of {counts.common}" if counts.common else "a mark: one seed"
    with rc_context(house_style(box=True)):
        grid = panel_grid(
            rows=1,
            columns=len(places),
            panel=(side if span.right else side * (1 - strip), side),
            gap=(0.16, 0.0),
            left=0.86,
            bottom=0.5 if len(places) > 1 else 0.63,
            legend=[*counts.labels, *[HOLLOW] * (strip > 0), DIAGONAL, mark],
            title=title,
        )
        row = grid.axes[0]
        for place, axes in zip(places, row, strict=True):
            chosen = [point_at(points, {panels: place, "model": model}) for model in models]
            _draw_panel(axes, chosen, markers, span)
            # A bare 0.8 needs the name of its axis.
            name = place if panels == "task" else f"{panels} {place}"
            axes.set_title(name, size=LABEL_SIZE, pad=5)
            axes.set(xlabel="", ylabel="")
            axes.tick_params(labelleft=axes is row[0])
        row[0].set_ylabel(f"{FIRST}\non test inputs (log)")
        height = grid.figure.get_size_inches()[1]
        middle = (row[0].get_position().x0 + row[-1].get_position().x1) / 2
        space = " " if len(places) > 1 else "\n"  # one panel is narrower than the text
        text = f"{FIRST}{space}on train inputs (log)"
        grid.figure.text(middle, 0.1 / height, text, ha="center", va="bottom", size=LABEL_SIZE)
        edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.5}
        handles: list[Any] = [
            Line2D([], [], ls="", ms=5, color=m.color, marker=m.shape, label=label, **edge)
            for label, m in zip(counts.labels, markers, strict=True)
        ]
        if strip:
            handles.append(_hollow(Marker(TEXT_COLOR, "o", 0), HOLLOW))
        handles.append(Line2D([], [], label=DIAGONAL, **DASHED))
        handles.append(Line2D([], [], linestyle="", label=mark))
        grid.add_legend(handles)
    return grid.figure


def _draw_panel(
    axes: Axes, points: Sequence[GridPoint | None], markers: Sequence[Marker], span: Span
) -> None:
    """Draw the runs of one panel, a point per model, and count those that never generalize."""
    prepare_epoch_axes(axes, span.low, span.high, span.end)
    powers = [10.0**k for k in range(12) if span.low <= 10.0**k <= span.high]
    if len(powers) > 1:  # labels between them would overlap in a small panel
        axes.set(xticks=powers, yticks=powers)
    axes.plot([span.low, span.high], [span.low, span.high], zorder=1, **DASHED)
    counts = []
    for point, marker in zip(points, markers, strict=True):
        if point is None:
            counts.append(_hollow(marker, "not run"))
            continue
        train, test = numbers_of(point, TRAIN), numbers_of(point, TEST)
        _draw_runs(axes, train, test, marker, span)
        never = int(np.isnan(test).sum())
        if never:
            counts.append(_hollow(marker, f"{never} of {len(test)} never"))
    if span.end > span.high:
        add_never_tick(axes.yaxis, span.lane(0.5), span.high)
        axes.axhspan(span.high, span.end, color=GRID_COLOR, zorder=0, linewidth=0)
    if span.right:
        add_never_tick(axes.xaxis, span.lane(0.5), span.lane(-0.6))
        axes.axvspan(span.high, span.end, color=GRID_COLOR, zorder=0, linewidth=0)
    else:
        axes.set_xlim(span.low, span.high)
    if counts:
        edge = np.log(span.high / span.low) / np.log(span.end / span.low)  # of the strip
        axes.legend(
            handles=counts,
            loc="lower right",
            bbox_to_anchor=(float(edge) if span.right else 1.0, 0.0),
            fontsize=NOTE_SIZE - 0.5,
            handletextpad=0.1,
            labelspacing=0.25,
            borderaxespad=0.3,
        )


def _draw_runs(axes: Axes, train: Floats, test: Floats, marker: Marker, span: Span) -> None:
    """Draw runs (S,) of one model; nan stands in the model's lane of a strip."""
    fits, generalizes = np.isfinite(train), np.isfinite(test)
    neither = ~fits & ~generalizes
    x = np.where(fits, np.maximum(train, 1), span.lane(marker.lane))
    x = np.where(neither, spread_over_strip(neither, span.high, span.end), x)
    y = np.where(generalizes, np.maximum(test, 1), span.lane(marker.lane))
    axes.scatter(
        x[generalizes],
        y[generalizes],
        s=16,
        color=marker.color,
        marker=marker.shape,
        alpha=0.75,
        edgecolors="white",
        linewidths=0.4,
        zorder=3,
    )
    axes.scatter(
        x[~generalizes],
        y[~generalizes],
        s=13,
        facecolors="none",
        edgecolors=marker.color,
        marker=marker.shape,
        linewidths=0.8,
        zorder=3,
    )


def _hollow(marker: Marker, label: str) -> Any:
    """Legend entry for runs that never generalize."""
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {"markersize": 3.8, "markerfacecolor": "none", "markeredgewidth": 0.8}
    return Line2D(
        [], [], linestyle="", color=marker.color, marker=marker.shape, label=label, **style
    )
