"""When every model learns its train inputs and when its test inputs, a panel for each task."""

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
LANE = 0.045  # share of an axis that each model has in the strip of runs that never got there
DIAGONAL, HOLLOW = "same epoch", "hollow: never on test inputs"
FIRST = "first of 20 epochs above 90 %"


class Look(NamedTuple):
    """How the runs of one model are drawn."""

    color: str
    marker: str
    lane: float  # its place across the strip, 0 to 1


class Span(NamedTuple):
    """The epochs of both axes, in all panels: low to high, and a strip from there to the end."""

    low: float
    high: float
    end: float
    right: bool  # whether there is a strip on the right as well as on top

    def lane(self, share: float) -> float:
        """A place across the strip, 0 to 1, as an epoch."""
        return float(self.high * (self.end / self.high) ** share)


def generalization_by_model(
    points: Sequence[GridPoint], *, title: str = "", panels: str = "task"
) -> Figure:
    """Draw the epoch at which runs generalize over the one at which they fit their train inputs.

    After Figure 3(c) of the harmonic-loss paper, with its axes named the right way round (the
    paper's are swapped), logarithmic and whole: the paper clips them and leaves out the runs that
    never get there. Here those stand hollow in a strip along the top (and the right side, if they
    never fit their train inputs), a lane for each model, and are counted. Runs on the dashed line
    generalize as they learn; runs above it grok. The legend says how many seeds each model has.

    Args:
        points: With the axes "model" and that of the panels, and the metrics
            ``generalization/train_epoch`` and ``generalization/test_epoch`` (the first of 20 epochs
            above 90 %, as the probe Generalization counts by default), nan = never; epochs below 1
            are drawn at 1.
        title: Of the figure.
        panels: The axis that has a panel for each of its values.

    Raises:
        ValueError: No points, an axis or a metric is missing, or several points fall on one place.
    """
    from matplotlib import rc_context
    from matplotlib.lines import Line2D

    places, models = axis_values(points, panels), axis_values(points, "model")
    looks = [
        Look(color, MARKERS[index % len(MARKERS)], (len(models) - index - 0.5) / len(models))
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
            found = [point_at(points, {panels: place, "model": model}) for model in models]
            _draw_panel(axes, found, looks, span)
            # A task names itself; 0.8 does not.
            name = place if panels == "task" else f"{panels} {place}"
            axes.set_title(name, size=LABEL_SIZE, pad=5)
            axes.set(xlabel="", ylabel="")
            axes.tick_params(labelleft=axes is row[0])
        row[0].set_ylabel(f"{FIRST}\non test inputs (log)")
        height = grid.figure.get_size_inches()[1]
        middle = (row[0].get_position().x0 + row[-1].get_position().x1) / 2
        space = " " if len(places) > 1 else "\n"  # one panel is narrower than the line
        grid.figure.text(
            middle, 0.1 / height, f"{FIRST}{space}on train inputs (log)",
            ha="center", va="bottom", size=LABEL_SIZE,
        )  # fmt: skip
        handles: list[Any] = [
            Line2D([], [], linestyle="", markersize=5, color=look.color, marker=look.marker,
                   markeredgecolor="white", markeredgewidth=0.5, label=label)
            for label, look in zip(counts.labels, looks, strict=True)
        ]  # fmt: skip
        if strip:
            handles.append(_hollow(Look(TEXT_COLOR, "o", 0), HOLLOW))
        handles.append(Line2D([], [], label=DIAGONAL, **_dashes()))
        handles.append(Line2D([], [], linestyle="", label=mark))
        grid.add_legend(handles)
    return grid.figure


def _draw_panel(
    axes: Axes, points: Sequence[GridPoint | None], looks: Sequence[Look], span: Span
) -> None:
    """Draw the runs of one panel, one point a model, and count those that never generalize."""
    prepare_epoch_axes(axes, span.low, span.high, span.end)
    powers = [10.0**k for k in range(12) if span.low <= 10.0**k <= span.high]
    if len(powers) > 1:  # numbers between them would run into one another in a small panel
        axes.set(xticks=powers, yticks=powers)
    axes.plot([span.low, span.high], [span.low, span.high], zorder=1, **_dashes())
    counts = []
    for point, look in zip(points, looks, strict=True):
        if point is None:
            counts.append(_hollow(look, "not run"))
            continue
        train, test = numbers_of(point, TRAIN), numbers_of(point, TEST)
        _draw_runs(axes, train, test, look, span)
        never = int(np.isnan(test).sum())
        if never:
            counts.append(_hollow(look, f"{never} of {len(test)} never"))
    if span.end > span.high:  # the strips are the same in all panels, as the axes are
        add_never_tick(axes.yaxis, span.lane(0.5), span.high)
        axes.axhspan(span.high, span.end, color=GRID_COLOR, zorder=0, linewidth=0)
    if span.right:
        add_never_tick(axes.xaxis, span.lane(0.5), span.lane(-0.6))
        axes.axvspan(span.high, span.end, color=GRID_COLOR, zorder=0, linewidth=0)
    else:
        axes.set_xlim(span.low, span.high)
    if counts:
        share = np.log(span.high / span.low) / np.log(span.end / span.low)  # left of the strip
        axes.legend(
            handles=counts,
            loc="lower right",
            bbox_to_anchor=(float(share) if span.right else 1.0, 0.0),
            fontsize=NOTE_SIZE - 0.5,
            handletextpad=0.1,
            labelspacing=0.25,
            borderaxespad=0.3,
        )


def _draw_runs(axes: Axes, train: Floats, test: Floats, look: Look, span: Span) -> None:
    """Draw runs (S,) of one model, in their lane of a strip where an epoch is nan."""
    fits, generalizes = np.isfinite(train), np.isfinite(test)
    neither = ~fits & ~generalizes
    x = np.where(fits, np.maximum(train, 1), span.lane(look.lane))
    x = np.where(neither, spread_over_strip(neither, span.high, span.end), x)
    y = np.where(generalizes, np.maximum(test, 1), span.lane(look.lane))
    axes.scatter(
        x[generalizes],
        y[generalizes],
        s=16,
        color=look.color,
        marker=look.marker,
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
        edgecolors=look.color,
        marker=look.marker,
        linewidths=0.8,
        zorder=3,
    )


def _hollow(look: Look, label: str) -> Any:
    """A legend's entry for runs that never generalize."""
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {"markersize": 3.8, "markerfacecolor": "none", "markeredgewidth": 0.8}
    return Line2D([], [], linestyle="", color=look.color, marker=look.marker, label=label, **style)


def _dashes() -> dict[str, Any]:
    return {"color": MUTED_COLOR, "linewidth": 0.8, "linestyle": (0, (4, 3))}
