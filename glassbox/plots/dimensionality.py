"""Dimensionality of each feature as features become sparser: plateaus rather than a slope."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.feature_arrays import as_members, dimensionality_of
from glassbox.plots.figure_title import titled_figure
from glassbox.plots.style import LINE, MUTED_COLOR, NOTE_SIZE, Style, house_style, log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Dimensionality of features at the vertices of regular bodies (Toy Models of Superposition).
PLATEAUS = (
    (1.0, "1  its own dimension"),
    (3 / 4, "3/4  tetrahedron"),
    (2 / 3, "2/3  triangle"),
    (1 / 2, "1/2  digon"),
    (2 / 5, "2/5  pentagon"),
    (3 / 8, "3/8  square antiprism"),
    (0.0, "0  not represented"),
)
FEATURE, WEAK, MEAN = "#2A6F9E", "#b9c4cb", "#D55E00"
SWARM = 0.012  # height of a bin of the swarm, in dimensionality


def dimensionality_plot(
    weights: ArrayLike,
    activity: ArrayLike,
    *,
    threshold: float = 0.5,
    title: str = "",
) -> Figure:
    """Draw D_i = ‖W_i‖² / Σ_j (Ŵ_i·W_j)² of every feature over 1/(1 − S), on a logarithmic axis.

    After the plot of Toy Models. Points of one column are moved sideways where many are alike, so
    that the width at a value shows how many features have it. Dotted lines mark the values of
    features at the vertices of regular bodies. The line is D* = H/‖W‖²_F, hidden dimensions per
    feature, the median over the models of one activity. Dimensionality does not depend on length,
    so features whose norm is below the threshold are gray.

    Args:
        weights: (S, N, H), row i the direction of feature i; those of several seeds one by one.
        activity: (S,) 1 − S of each model, above 0 and at most 1.
        threshold: Norm above which a feature counts as represented.
        title: Figure title.

    Raises:
        ValueError: Shapes do not fit, or an activity lies outside of 0 to 1 or is 0.
    """
    from matplotlib import rc_context

    members = as_members(weights)
    count, _, hidden = members.weights.shape
    active = as_floats(activity, "activity", (count,), "(models,)")
    if not ((active > 0) & (active <= 1)).all():
        raise ValueError(f"activity is {active.tolist()}; it must be above 0 and at most 1.")
    norms = np.linalg.norm(members.weights, axis=2)  # (S, N)
    dimensionality = dimensionality_of(members.weights)  # (S, N)
    total = (members.weights**2).sum(axis=(1, 2))
    known_total = np.isfinite(total) & (total > 0)
    sparse = 1 / active
    columns = np.unique(sparse)
    low, high = float(columns[0]), float(columns[-1])
    gaps = np.diff(np.log(columns))
    half = max(0.38 * gaps.min(), 0.012 * np.log(high / low)) if len(gaps) else 0.2  # logarithmic
    notes = [] if members.finite.all() else [f"{(~members.finite).sum()} models are not finite"]
    with rc_context(house_style()):
        figure = titled_figure(7.6, 4.5, title, notes)
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_xlim(low * np.exp(-1.5 * half), high * np.exp(1.5 * half))
        axes.set_ylim(-0.04, 1.05)
        _draw_plateaus(axes)
        means = []
        for column in columns:
            here = sparse == column
            values, kept = dimensionality[here].ravel(), (norms[here] > threshold).ravel()
            known = np.isfinite(values)
            _draw_swarm(axes, float(column), values[known], kept[known], half)
            totals = total[here & known_total]
            means.append(float(np.median(hidden / totals)) if len(totals) else np.nan)
        axes.plot(columns, means, color=MEAN, linewidth=1.2, marker="o", markersize=3.5, zorder=4)
        ticks = log_ticks(low * 0.98, high * 1.02) or [low]
        axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("1 / (1 − S): sparser to the right")
        axes.set_ylabel("dimensionality D of a feature")
        _draw_legend(axes, threshold, {int((sparse == column).sum()) for column in columns})
    return figure


def _draw_legend(axes: Axes, threshold: float, seeds: set[int]) -> None:
    from matplotlib.lines import Line2D

    fewest, most = min(seeds), max(seeds)
    number = f"{most}" if fewest == most else f"{fewest} to {most}"
    median = f": median of {number} seeds" if most > 1 else ""
    handles = [
        Line2D([], [], color=color, marker="o", markersize=size, linewidth=width, label=label)
        for color, size, width, label in (
            (FEATURE, 4, 0, "feature"),
            (WEAK, 3, 0, f"norm below {threshold:g}"),
            (MEAN, 3.5, 1.2, f"D* = H/‖W‖²{median}"),
        )
    ]
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1.01), ncols=3, borderaxespad=0.0
    )


def _draw_plateaus(axes: Axes) -> None:
    heights = spread_apart([value for value, _ in PLATEAUS], gap=0.036)
    for (value, text), height in zip(PLATEAUS, heights, strict=True):
        axes.axhline(value, color=LINE, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
        axes.annotate(
            text,
            (1.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            size=NOTE_SIZE,
            color=MUTED_COLOR,
            annotation_clip=False,
        )


def spread_apart(values: list[float], gap: float) -> list[float]:
    """Descending values, with neighbors closer than `gap` moved apart by equal amounts."""
    moved = list(values)
    for upper in range(len(moved) - 1):
        lack = gap - (moved[upper] - moved[upper + 1])
        if lack > 0:
            moved[upper] += lack / 2
            moved[upper + 1] -= lack / 2
    return moved


def _draw_swarm(
    axes: Axes, column: float, values: Floats, kept: NDArray[np.bool_], half: float
) -> None:
    """Draw the points of one column, moved sideways by up to ± `half` (logarithmic) where dense."""
    bins = np.round(values / SWARM).astype(int)
    fullest = max(np.bincount(bins).max(initial=1), 12)  # a few points do not fill the column
    offsets = np.zeros(len(values))
    for number in np.unique(bins):
        members = np.flatnonzero(bins == number)
        rank = np.arange(len(members)) - (len(members) - 1) / 2
        offsets[members] = rank * 2 * half / fullest
    places = column * np.exp(offsets)
    for chosen, color, size, layer in ((~kept, WEAK, 2.5, 2), (kept, FEATURE, 5.5, 3)):
        style: Style = {"color": color, "alpha": 0.8, "linewidths": 0, "zorder": layer}
        axes.scatter(places[chosen], values[chosen], s=size, clip_on=False, **style)
