"""Phases of trained models of two features, beside those that theory predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.colors import MISSING
from glassbox.plots.figure_title import titled_figure
from glassbox.plots.style import LABEL_SIZE, TEXT_COLOR, house_style, log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLORS = ("#4C8DB8", "#E3A33B", "#8C5A9E")  # of glassbox.metrics.two_features.PHASES
MAX_CROSSES = 0.35  # fraction of the cells; more crosses hide the picture


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
    closed form are drawn into both panels, and a cross marks a trained cell with another phase.
    The title states the fraction of cells that agree; where two phases have the same loss, either
    agrees.

    Args:
        trained: (R, P) integers of `glassbox.metrics.trained_phase`: 0 first alone, 1 second
            alone, 2 antipodal, -1 none of these.
        losses: (R, P, 3) expected losses of the three, from `glassbox.metrics.phase_diagram`.
        importance: (R,) of the second feature relative to the first, increasing.
        activity: (P,) 1 − S, increasing. Axes are logarithmic if all values are above 0 and span a
            factor of 8 or more.
        title: Figure title; the agreement is appended.

    Raises:
        ValueError: Shapes do not fit, axes do not increase, or a phase is unknown.
    """
    import torch
    from matplotlib import rc_context
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    from glassbox.metrics.two_features import PHASES, agreement

    rows = _increasing(importance, "importance")
    columns = _increasing(activity, "activity")
    shape = (len(rows), len(columns))
    theory = as_floats(losses, "losses", (*shape, 3), "(importances, activities, 3)")
    phases = as_floats(trained, "trained", shape, "(importances, activities)")
    if not np.isin(phases, (-1, 0, 1, 2)).all():
        raise ValueError("trained must hold phases 0, 1 and 2, or -1 for none of them.")
    actual, expected = phases.astype(np.int64), theory.argmin(axis=2)
    agree = agreement(torch.from_numpy(actual), torch.from_numpy(theory)).numpy()
    crossed = 0 < (~agree).sum() <= MAX_CROSSES * agree.size
    text = f"{100 * agree.mean():.1f} % of {agree.size} cells agree"
    notes = ["lines: boundaries of the closed form"]
    if crossed:
        notes.append("×: a trained model in another phase")
    legend = [Patch(color=color, label=name) for name, color in zip(PHASES, COLORS, strict=True)]
    if (actual == -1).any():
        legend.append(Patch(color=MISSING, label="none of these"))
    x, y = _edges(columns), _edges(rows)
    with rc_context(house_style(box=True)):
        full_title = f"{title}: {text}" if title else text
        figure = titled_figure(7.0, 3.85, full_title, notes, legend=legend)
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, name, cells in zip(
            panels, ("trained", "closed form"), (actual, expected), strict=True
        ):
            colors = ListedColormap([MISSING, *COLORS])
            axes.pcolormesh(x, y, cells, cmap=colors, vmin=-1.5, vmax=2.5)
            _draw_boundaries(axes, expected, x, y)
            axes.set(xscale=_scale(columns), yscale=_scale(rows))
            _set_ticks(axes.xaxis, columns)
            _set_ticks(axes.yaxis, rows)
            axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), box_aspect=1, anchor="SW")
            axes.set_xlabel("activity 1 − S of both features")
            axes.set_title(name, size=LABEL_SIZE, pad=5, weight="bold")
        panels[0].set_ylabel("importance of the second")
        if crossed:
            r, p = np.nonzero(~agree)
            panels[0].plot(columns[p], rows[r], "x", color=TEXT_COLOR, markersize=4)
    return figure


def _increasing(values: ArrayLike, name: str) -> Floats:
    array = as_floats(values, name, (None,), "(cells,)")
    if not np.isfinite(array).all() or (np.diff(array) <= 0).any():
        raise ValueError(f"{name} must be finite and increasing.")
    return array


def _scale(values: Floats) -> Literal["log", "linear"]:
    return "log" if values[0] > 0 and values[-1] >= 8 * values[0] else "linear"


def _edges(values: Floats) -> Floats:
    """N + 1 edges of the cells around N values: midway, and as far beyond the ends."""
    log = _scale(values) == "log"
    places = np.log(values) if log else values
    if len(places) == 1:
        return places[0] + np.array([-0.5, 0.5])
    inner = (places[1:] + places[:-1]) / 2
    edges = np.array([2 * places[0] - inner[0], *inner, 2 * places[-1] - inner[-1]])
    return np.exp(edges) if log else edges


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


def _set_ticks(axis: Axis, values: Floats) -> None:
    """Round numbers without powers of ten on a logarithmic axis."""
    if _scale(values) == "log":
        ticks = log_ticks(values[0] * 0.99, values[-1] * 1.01, least=0.0)
        axis.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        axis.set_ticks([], minor=True)
