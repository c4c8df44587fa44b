"""What trained models of two features do, beside what theory expects of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.colors import MISSING
from glassbox.plots.figure_title import layout_title
from glassbox.plots.style import (
    LABEL_SIZE,
    NOTE_SIZE,
    TEXT_COLOR,
    house_style,
    new_figure,
    place_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PHASES = ("first alone", "second alone", "antipodal pair")
COLORS = ("#4C8DB8", "#E3A33B", "#8C5A9E")
LEFT, GAP, RIGHT, BOTTOM, PANEL = 0.62, 0.3, 0.15, 0.48, 3.0  # inches
TIE = 1e-6  # relative: strategies whose losses differ by less are equally good
MOST_CROSSES = 0.35  # of the cells; more crosses than this hide the picture


def phase_diagram_plot(
    trained: ArrayLike,
    losses: ArrayLike,
    *,
    importance: ArrayLike,
    activity: ArrayLike,
    title: str = "",
) -> Figure:
    """Draw the phase of trained models over importance and activity, beside the closed form's.

    After the phase diagram of Toy Models (two features, one hidden neuron). The boundaries of the
    closed form are drawn into both panels, and a cross marks a trained cell that does otherwise.
    The share of cells that agree stands in the title; where two ways are equally good, either
    agrees.

    Args:
        trained: (R, P) integers of `glassbox.metrics.trained_phase`: 0 first alone, 1 second
            alone, 2 antipodal, -1 none of these.
        losses: (R, P, 3) expected loss of the three, `glassbox.metrics.two_features(...).losses`.
        importance: (R,) of the second feature relative to the first, rising.
        activity: (P,) 1 − S, rising. Axes are logarithmic if all are above 0 and span a factor of
            8 or more.
        title: Of the figure; the agreement is added to it.

    Raises:
        ValueError: Shapes do not fit, axes do not rise, or a phase is unknown.
    """
    from matplotlib import rc_context
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    rows = _rising(importance, "importance")
    columns = _rising(activity, "activity")
    expected_losses = as_floats(
        losses, "losses", (len(rows), len(columns), 3), "(importances, activities, 3)"
    )
    phases = as_floats(trained, "trained", (len(rows), len(columns)), "(importances, activities)")
    if not np.isin(phases, (-1, 0, 1, 2)).all():
        raise ValueError("trained must hold phases 0, 1 and 2, or -1 for none of them.")
    found = phases.astype(np.int64)
    expected = expected_losses.argmin(axis=2)
    agree = agreement(found, expected_losses)
    width = LEFT + 2 * PANEL + GAP + RIGHT
    wrong = int((~agree).sum())
    text = f"{100 * agree.mean():.1f} % of {agree.size} cells agree"
    notes = ["lines: boundaries of the closed form"]
    crossed = 0 < wrong <= MOST_CROSSES * agree.size
    if crossed:
        notes.append("×: a trained model that does otherwise")
    heading = layout_title(f"{title}: {text}" if title else text, notes, width - 0.3)
    top = heading.height + 0.26 + 0.26
    with rc_context(house_style(box=True)):
        figure = new_figure(width, top + PANEL + BOTTOM)
        heading.draw(figure, 0.15)
        for number, (name, cells) in enumerate((("trained", found), ("closed form", expected))):
            left = LEFT + number * (PANEL + GAP)
            axes = place_axes(figure, left=left, right=width - left - PANEL, bottom=BOTTOM, top=top)
            log = [_is_logarithmic(values) for values in (columns, rows)]
            x, y = _edges(columns, log[0]), _edges(rows, log[1])
            axes.set(xscale="log" if log[0] else "linear", yscale="log" if log[1] else "linear")
            axes.pcolormesh(
                x, y, cells, cmap=ListedColormap([MISSING, *COLORS]), vmin=-1.5, vmax=2.5
            )
            _draw_boundaries(axes, expected, x, y)
            axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
            _label(axes, columns, rows, log)
            if number == 0 and crossed:
                r, p = np.nonzero(~agree)
                axes.plot(
                    columns[p], rows[r], "x", color=TEXT_COLOR, markersize=4, markeredgewidth=1
                )
            axes.tick_params(labelleft=number == 0)
            axes.set_xlabel("activity 1 − S of both features")
            if number == 0:
                axes.set_ylabel("importance of the second")
            axes.set_title(name, size=LABEL_SIZE, pad=5, weight="bold")
        shown = [*zip(PHASES, COLORS, strict=True)]
        if (found == -1).any():
            shown.append(("none of these", MISSING))
        figure.legend(
            handles=[Patch(color=color, label=label) for label, color in shown],
            loc="upper left",
            bbox_to_anchor=(0.15 / width, 1 - (heading.height + 0.05) / (top + PANEL + BOTTOM)),
            borderaxespad=0.0,
            borderpad=0.0,
            handlelength=0.9,
            handleheight=0.8,
            columnspacing=1.4,
            ncols=len(shown),
            fontsize=NOTE_SIZE,
        )
    return figure


def agreement(trained: NDArray[np.int64], losses: Floats) -> NDArray[np.bool_]:
    """Which cells (R, P) hold a phase whose loss is the least, or as good as that."""
    least = losses.min(axis=2)
    own = np.take_along_axis(losses, np.maximum(trained, 0)[..., None], axis=2)[..., 0]
    return np.asarray((trained >= 0) & (own <= least * (1 + TIE)))


def _rising(values: ArrayLike, name: str) -> Floats:
    array = as_floats(values, name, (None,), "(cells,)")
    if not np.isfinite(array).all() or (np.diff(array) <= 0).any():
        raise ValueError(f"{name} must be finite and rise from cell to cell.")
    return array


def _is_logarithmic(values: Floats) -> bool:
    return bool(values[0] > 0 and values[-1] >= 8 * values[0])


def _edges(values: Floats, log: bool) -> Floats:
    """N + 1 edges of the cells around N values: midway, and as far beyond the ends."""
    places = np.log(values) if log else values
    if len(places) == 1:
        middle = places[0] + np.array([-0.5, 0.5])
    else:
        inner = (places[1:] + places[:-1]) / 2
        first, last = 2 * places[0] - inner[0], 2 * places[-1] - inner[-1]
        middle = np.concatenate([[first], inner, [last]])
    return np.exp(middle) if log else middle


def _draw_boundaries(axes: Axes, cells: NDArray[np.int64], x: Floats, y: Floats) -> None:
    from matplotlib.collections import LineCollection

    lines = [
        [(x[c + 1], y[r]), (x[c + 1], y[r + 1])]
        for r, c in zip(*np.nonzero(cells[:, 1:] != cells[:, :-1]), strict=True)
    ] + [
        [(x[c], y[r + 1]), (x[c + 1], y[r + 1])]
        for r, c in zip(*np.nonzero(cells[1:] != cells[:-1]), strict=True)
    ]
    axes.add_collection(LineCollection(lines, colors="white", linewidths=1.4), autolim=False)


def _label(axes: Axes, columns: Floats, rows: Floats, log: list[bool]) -> None:
    """Round numbers on logarithmic axes, without powers."""
    for axis, values, is_log in ((axes.xaxis, columns, log[0]), (axes.yaxis, rows, log[1])):
        if not is_log:
            continue
        steps = (1, 2, 5) if values[-1] < 300 * values[0] else (1,)
        ticks = [step * 10.0**power for power in range(-8, 5) for step in steps]
        kept = [tick for tick in ticks if values[0] * 0.99 <= tick <= values[-1] * 1.01]
        axis.set_ticks(kept, [f"{tick:g}" for tick in kept])
        axis.set_ticks([], minor=True)
