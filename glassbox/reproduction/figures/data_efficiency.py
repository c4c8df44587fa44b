"""Data efficiency: test accuracy over the fraction of inputs in the training set."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from glassbox.plots.arrays import Floats, quartiles
from glassbox.plots.colors import model_colors
from glassbox.plots.style import LABEL_SIZE, LINE, MUTED_COLOR, NOTE_SIZE, house_style
from glassbox.reproduction.figures.panel_grid import (
    BAND,
    draw_median,
    line_handle,
    panel_grid,
    percent_axis,
)
from glassbox.reproduction.figures.seed_counts import seed_counts
from glassbox.reproduction.figures.select_points import (
    axis_values,
    columns,
    numbers_of,
    numeric_values,
    points_along,
)
from glassbox.reproduction.grid_point import GridPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAK = "data/leak_fraction"
ROWS = (
    ("test/accuracy", "accuracy on\nall test inputs"),
    ("test/accuracy_clean", "accuracy on test inputs\nnever trained on"),
)
REMEMBERED = "test inputs that were trained on"
BRIDGE = "dashed: fractions that were not run"
DASHES = (0, (2.5, 2))


def data_efficiency(points: Sequence[GridPoint], *, title: str = "") -> Figure:
    """Draw test accuracy at the end of training over the train fraction, a panel for each task.

    After Figure 3(b) of the harmonic-loss paper, which shows one seed and scales each panel on its
    own; here all panels go from 0 to 100 %, with median and quartiles over seeds. If inputs are
    drawn with replacement, some test inputs occur in the training set. A gray line shows their
    fraction, the accuracy of pure memorization, and a second row of panels the accuracy on the
    other test inputs. The legend has the number of seeds, per model if it differs.

    Args:
        points: With the axes "task", "model" and "train fraction" (numbers as text), in any order,
            and the metrics ``test/accuracy``, ``test/accuracy_clean`` and
            ``data/leak_fraction``. A fraction without a point is a gap, dashed between its
            neighbors; a panel lists models without any point; nan is left out of the median.
    """
    from matplotlib import rc_context

    tasks, models = axis_values(points, "task"), axis_values(points, "model")
    fractions = numeric_values(points, "train fraction")
    leaks = [numbers_of(point, LEAK) for point in points]
    leaky = any((leak > 0).any() for leak in leaks)
    rows = ROWS if leaky else ROWS[:1]
    counts = seed_counts(points, models, ROWS[0][0])
    band = f"{BAND} of {counts.common}" if counts.common else BAND
    colors = model_colors(models)
    lines = {
        (task, model): points_along(
            points, {"task": task, "model": model}, "train fraction", fractions.values()
        )
        for task in tasks
        for model in models
    }
    bridged = any(_gaps([point is not None for point in line]) for line in lines.values())
    with rc_context(house_style()):
        panels = panel_grid(
            rows=len(rows),
            columns=len(tasks),
            panel=(1.9, 1.65),
            gap=(0.14, 0.2),
            left=0.86,
            bottom=0.5,
            legend=[*counts.labels, *[REMEMBERED] * leaky, band, *[BRIDGE] * bridged],
            title=title,
        )
        for (metric, label), row in zip(rows, panels.axes, strict=True):
            for task, axes in zip(tasks, row, strict=True):
                _prepare(axes, list(fractions), first=axes is row[0], last=row is panels.axes[-1])
                of_task = [lines[task, model] for model in models]
                for model, color, line in zip(models, colors, of_task, strict=True):
                    table = quartiles(
                        columns([None if p is None else numbers_of(p, metric) for p in line])
                    )
                    draw_median(
                        axes, [*fractions], table, color=color, label=model, marker=3.2, band=0.18
                    )
                    _bridge_gaps(axes, [*fractions], table[1], color)
                if row is panels.axes[0]:
                    if leaky:
                        leak = quartiles(_pooled(points, task, fractions))[1]
                        style: dict[str, Any] = {"color": MUTED_COLOR, "linewidth": 0.9}
                        axes.plot([*fractions], leak, label=REMEMBERED, zorder=2.6, **style)
                    _list_missing(axes, of_task, colors)
            row[0].set_ylabel(label if leaky else "test accuracy")
        for task, axes in zip(tasks, panels.axes[0], strict=True):
            axes.set_title(task, size=LABEL_SIZE, pad=5)
        panels.add_legend(_handles(counts.labels, colors, band, leaky=leaky, bridged=bridged))
    return panels.figure


def _gaps(known: Sequence[bool]) -> list[tuple[int, int]]:
    """Indices on both sides of every gap."""
    places = [place for place, there in enumerate(known) if there]
    return [(left, right) for left, right in pairwise(places) if right > left + 1]


def _bridge_gaps(axes: Axes, fractions: list[float], medians: Floats, color: str) -> None:
    """Draw a dashed line across fractions that were not run."""
    for ends in _gaps(np.isfinite(medians).tolist()):
        places, heights = [fractions[i] for i in ends], [float(medians[i]) for i in ends]
        axes.plot(places, heights, color=color, linewidth=1.0, linestyle=DASHES, zorder=2.4)


def _handles(
    models: Sequence[str], colors: Sequence[str], band: str, *, leaky: bool, bridged: bool
) -> list[Any]:
    """Legend entries: models, memorized inputs, line and band."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        line_handle(color, model) for model, color in zip(models, colors, strict=True)
    ]
    if leaky:
        handles.append(Line2D([], [], color=MUTED_COLOR, linewidth=0.9, label=REMEMBERED))
    handles.append(Patch(facecolor=LINE, alpha=0.4, label=band))
    if bridged:
        handles.append(Line2D([], [], color=LINE, linewidth=1.0, linestyle=DASHES, label=BRIDGE))
    return handles


def _list_missing(
    axes: Axes, lines: Sequence[Sequence[GridPoint | None]], colors: Sequence[str]
) -> None:
    """List the models without any point in a legend of the panel."""
    missing = [color for line, color in zip(lines, colors, strict=True) if not any(line)]
    notes = [line_handle(color, "not run") for color in missing]
    if notes:
        box: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "framealpha": 0.85}
        legend = axes.legend(
            handles=notes, loc="lower right", fontsize=NOTE_SIZE - 0.5, frameon=True, **box
        )
        legend.set_zorder(4)


def _pooled(points: Sequence[GridPoint], task: str, fractions: dict[float, str]) -> Floats:
    """Leak fraction of a task: (all seeds of all models, train fractions)."""
    pooled: list[Floats | None] = []
    for text in fractions.values():
        here = {"task": task, "train fraction": text}
        values = [numbers_of(p, LEAK) for p in points if here.items() <= p.labels.items()]
        pooled.append(np.concatenate(values) if values else None)
    return columns(pooled)


def _prepare(axes: Axes, fractions: list[float], *, first: bool, last: bool) -> None:
    percent_axis(axes, labels=first)
    low, high = fractions[0], fractions[-1]
    margin = 0.04 * (high - low) or 0.05
    axes.set_xlim(low - margin, high + margin)
    shown = fractions if len(fractions) <= 5 else fractions[:: -(-len(fractions) // 5)]
    axes.set_xticks(shown, [f"{fraction:g}" for fraction in shown])
    axes.set_xticks(fractions, minor=True)
    axes.tick_params(labelbottom=last)
    if last:
        axes.set_xlabel("train fraction")
