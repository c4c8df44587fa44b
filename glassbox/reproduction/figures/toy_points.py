"""A few points in the plane under several heads: loss, weight norm and decision regions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from glassbox.plots.arrays import Floats, quartiles
from glassbox.plots.colors import CATEGORIES, HARMONIC, STANDARD
from glassbox.plots.decision_map import draw_decision_map, legend_handles
from glassbox.plots.style import LABEL_SIZE, MUTED_COLOR, NOTE_SIZE, house_style, whole_number
from glassbox.reproduction.figures.panel_grid import draw_median, note_above, panel_grid
from glassbox.reproduction.figures.select_points import array_of, axis_values, describe, point_at
from glassbox.reproduction.grid_point import GridPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL, GAP, ROW_GAP = 1.85, 0.52, 0.76  # inches: panels are square
CURVES = (("loss", "loss, nats"), ("weight_norm", "ℓ2 norm of the weight"))
OTHERS = (STANDARD, CATEGORIES[2], CATEGORIES[7], CATEGORIES[9])  # heads that are not harmonic
# Equal curves would hide one another, so that the second is dashed.
DASHES: tuple[Any, ...] = ("-", (0, (3, 2.5)), "-", (0, (1, 2)))


def toy_points(points: Sequence[GridPoint], *, title: str = "", seed: int = 0) -> Figure:
    """Draw loss and weight norm over optimizer steps, and a decision map for each head.

    After Figure 1(b) and (c) of the harmonic-loss paper, a row per set of points: on the left the
    paper's two panels as medians and quartiles over seeds, on the right the final regions of one
    seed. Crosses are class centers; lines from the origin are weights of heads that are not
    distance-based.

    Args:
        points: With the axes "head" and "points", and the arrays of the probe DecisionMap.
        seed: The seed whose maps are drawn; the first if it has not been run.
    """
    from matplotlib import rc_context
    from matplotlib.lines import Line2D

    heads, sets = axis_values(points, "head"), axis_values(points, "points")
    others = itertools.cycle(OTHERS)
    colors = {head: HARMONIC if head == "harmonic" else next(others) for head in heads}
    dashes = {head: DASHES[index % len(DASHES)] for index, head in enumerate(heads)}
    lines: list[Any] = [
        Line2D([], [], color=colors[head], linestyle=dashes[head], label=head) for head in heads
    ]
    *marks, center = legend_handles(True, True)
    handles = [*lines, *marks, center, legend_handles(True, False)[-1]]
    with rc_context(house_style(box=True)):
        panels = panel_grid(
            rows=len(sets),
            columns=len(CURVES) + len(heads),
            panel=(PANEL, PANEL),
            gap=(GAP, ROW_GAP),
            left=0.68,
            bottom=0.45,
            caption=0.42,
            legend=[str(handle.get_label()) for handle in handles],
            title=title,
        )
        for name, row in zip(sets, panels.axes, strict=True):
            chosen = {head: point_at(points, {"head": head, "points": name}) for head in heads}
            for axes, (array, label) in zip(row, CURVES, strict=False):
                for head, point in chosen.items():
                    if point is not None:
                        _draw_curve(axes, point, array, colors[head], dashes[head])
                _finish_curves(axes, array, label)
            row[0].set_title(f"{name} points", size=LABEL_SIZE, loc="left", pad=8)
            for axes, head in zip(row[len(CURVES) :], heads, strict=True):
                _draw_map(axes, chosen[head], head, seed)
        panels.add_legend(handles)
    return panels.figure


def _draw_curve(axes: Axes, point: GridPoint, array: str, color: str, dashes: Any) -> None:
    table = array_of(point, "steps").astype(np.float64)
    steps = table[0]
    if (table != steps).any():
        raise ValueError(
            f"the seeds of {describe(point.labels)} were measured at different steps; use the same "
            f"steps_per_epoch and max_epochs"
        )
    table = quartiles(array_of(point, array).astype(np.float64))
    draw_median(axes, steps.tolist(), table, color=color, marker=0, band=0.18, linestyle=dashes)
    axes.set_xlim(0, max(float(steps[-1]), axes.get_xlim()[1] if axes.lines[1:] else 0.0, 1.0))


def _finish_curves(axes: Axes, array: str, label: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axes.xaxis.set_major_locator(MaxNLocator(2, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(whole_number))
    if array == "loss":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    axes.set_xlabel("optimizer step", labelpad=2)
    axes.set_ylabel(label, labelpad=2)


def _draw_map(axes: Axes, point: GridPoint | None, head: str, seed: int) -> None:
    axes.set_title(head, size=LABEL_SIZE, loc="center", pad=15)
    if point is None:
        axes.set(xticks=[], yticks=[], xlim=(-1, 1), ylim=(-1, 1))
        axes.text(0, 0, "not finished", ha="center", size=NOTE_SIZE, color=MUTED_COLOR)
        return
    row = list(point.seeds).index(seed) if seed in point.seeds else 0

    def of_seed(name: str) -> Floats:
        return array_of(point, name)[row].astype(np.float64)

    draw_decision_map(
        axes,
        of_seed("regions").astype(np.int64),
        of_seed("window"),
        of_seed("points"),
        of_seed("targets").astype(np.int64),
        of_seed("weights"),
        bool(of_seed("by_distance")),
    )
    final = array_of(point, "loss")[row, -1]
    note_above(axes, f"seed {point.seeds[row]} · loss {final:.2g}")
