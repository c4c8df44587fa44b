"""Accuracy as words are deleted from the texts, by the order in which they are deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats, as_floats, quartiles
from glassbox.plots.colors import HARMONIC, STANDARD, model_colors
from glassbox.plots.curves import draw_band
from glassbox.plots.figure_title import titled_figure
from glassbox.plots.style import DASHED, MUTED_COLOR, TEXT_COLOR, TICK_SIZE, Style, house_style
from glassbox.plots.word_labels import fit_word, replace_missing_glyphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND_WIDTH = 128.0  # typographic points of a model's name


class DeletionCurve(NamedTuple):
    """One model's accuracies in 0 to 1 at K percentages of deleted words, of one or of S seeds.

    nan where an accuracy was not measured.
    """

    highest: ArrayLike  # (K,) or (S, K): the words of highest capacity are deleted first
    lowest: ArrayLike | None = None  # (K,) or (S, K)
    random: ArrayLike | None = None  # (R, K) or (S, R, K), R draws


class Band(NamedTuple):
    """A line and the limits of its band."""

    middle: Floats  # (K,)
    low: Floats  # (K,)
    high: Floats  # (K,)


class Order(NamedTuple):
    """How the curve of one order of deletion is drawn."""

    label: str
    color: str  # if there is one model; several models have a color each
    line: Style


ORDERS = {
    "highest": Order("highest first", HARMONIC, {"linewidth": 1.8, "marker": "o"}),
    "random": Order("random words", "#7A7A7A", {"linewidth": 1.4, "linestyle": (0, (1, 1.4))}),
    "lowest": Order("lowest first", STANDARD, {"linewidth": 1.1, "linestyle": (0, (5, 2))}),
}


def deletion_curve(
    percent: ArrayLike,
    models: Mapping[str, DeletionCurve],
    *,
    marked_percent: float | None = None,
    score: str = "capacity",
    title: str = "",
) -> Figure:
    """Draw how accuracy falls when the words that a score ranks highest are deleted.

    After Figure 3 of the SAFR paper, with two controls that it lacks: as many random words, and the
    lowest-ranked ones first. If a score identifies the words that matter, the first line falls
    fastest and the last one stays. With several seeds a line is their median and its band their
    quartiles (of each seed's mean over draws for random words). With one seed, random words are
    drawn as mean and range of the draws. Colors distinguish the orders of one model, or the models
    if there are several.

    Args:
        percent: (K,) increasing percentages of deleted words, 0 to 100.
        models: Curves by model name.
        marked_percent: One of `percent`, at which the loss of accuracy since 0 % (the SRS, in
            percentage points) is written in the legend; `percent` must start with 0 then.
        score: What orders the words, for the axis.
        title: Figure title.

    Raises:
        ValueError: There is no model, shapes differ, or a value lies outside its range.
    """
    from matplotlib import rc_context

    if not models:
        raise ValueError("models is empty: there is no deletion curve to draw.")
    x = _check_percent(percent)
    marked = None if marked_percent is None else _index_of(x, marked_percent)
    accuracies = {name: _as_accuracies(name, model, len(x)) for name, model in models.items()}
    bands = {
        name: {order: make_band(values) for order, values in of_model.items()}
        for name, of_model in accuracies.items()
    }
    colors = dict(zip(models, model_colors(list(models)), strict=True)) if len(models) > 1 else {}
    with rc_context(house_style() | {"text.parse_math": False}):
        height = max(3.4, 0.5 * len(models) + 1.25)  # the legend has to fit beside the plot
        figure = titled_figure(7.4, height, title, [_describe_bands(accuracies)])
        axes = figure.subplots()
        _prepare_axes(axes, x, [band for of_model in bands.values() for band in of_model.values()])
        axes.set_xlabel(
            f"words deleted from each text, ordered by {replace_missing_glyphs(score, ' ')}"
        )
        if marked is not None:
            axes.axvline(x[marked], color=MUTED_COLOR, linewidth=0.6, linestyle=DASHED)
        for name, of_model in bands.items():
            for layer, order in enumerate(reversed(of_model)):  # highest first lies on top
                style = ORDERS[order]
                color, band = colors.get(name, style.color), of_model[order]
                if (band.high > band.low).any():
                    draw_band(axes, x, band.low, band.high, color)
                line: Style = {"color": color, "markersize": 3.2, "zorder": 2.8 + 0.1 * layer}
                axes.plot(x, band.middle, **style.line, **line)
        losses = [
            "" if marked is None else _describe_loss(of_model["highest"], marked, x[marked])
            for of_model in accuracies.values()
        ]
        _draw_legends(axes, list(models), losses, colors, {o for m in bands.values() for o in m})
    return figure


def _check_percent(percent: ArrayLike) -> Floats:
    """Percentages of deleted words (K,): increasing, from 0 to 100."""
    values = as_floats(percent, "percent", (None,), "(percentages,)")
    if not (np.isfinite(values).all() and (np.diff(values) > 0).all()):
        raise ValueError("percent must be finite and increasing.")
    if values[0] < 0 or values[-1] > 100:
        raise ValueError(f"percent is {values[0]:g} to {values[-1]:g}, expected 0 to 100.")
    return values


def _index_of(percent: Floats, marked: float) -> int:
    matches = np.flatnonzero(np.isclose(percent, marked))
    if not len(matches) or percent[0] != 0:
        raise ValueError(
            f"marked_percent is {marked:g}, expected one of percent, which must start with 0."
        )
    return int(matches[0])


def _as_accuracies(name: str, model: DeletionCurve, size: int) -> dict[str, Floats]:
    """Accuracies of the orders that were measured: (S, K), and (S, R, K) of random words."""
    accuracies: dict[str, Floats] = {}
    for order in ORDERS:
        given = getattr(model, order)
        if given is None:
            continue
        array = np.asarray(given, dtype=np.float64)
        shape: tuple[int | None, ...] = (None, size)
        axes = "(seeds, percentages)"
        if order == "random":
            shape, axes = (None, None, size), "(seeds, draws, percentages)"
        array = array[None] if array.ndim == len(shape) - 1 else array
        if accuracies:
            shape = (len(accuracies["highest"]), *shape[1:])
        accuracies[order] = as_floats(array, f"{order} of {name}", shape, axes)
        if ((array < 0) | (array > 1)).any():
            raise ValueError(f"{order} of {name} has accuracies outside of 0 to 1.")
    return accuracies


def make_band(values: Floats) -> Band:
    """Median and quartiles over S seeds (S, K); mean and range over the draws (1, R, K) of one.

    Draws of several seeds (S, R, K) are averaged per seed first.
    """
    if values.ndim == 3:
        finite = np.isfinite(values)
        count = finite.sum(axis=1)
        total = np.where(finite, values, 0.0).sum(axis=1)
        means = np.where(count > 0, total / np.maximum(count, 1), np.nan)  # (S, K)
        if len(values) == 1:
            known = count[0] > 0
            low = np.where(finite, values, np.inf).min(axis=(0, 1))
            high = np.where(finite, values, -np.inf).max(axis=(0, 1))
            return Band(means[0], np.where(known, low, np.nan), np.where(known, high, np.nan))
        values = means
    lower, median, upper = quartiles(values)
    return Band(median, lower, upper)


def _describe_bands(accuracies: Mapping[str, Mapping[str, Floats]]) -> str:
    def listed(numbers: set[int]) -> str:
        return " or ".join(map(str, sorted(numbers)))

    seeds = {len(values) for of_model in accuracies.values() for values in of_model.values()}
    draws = {m["random"].shape[1] for m in accuracies.values() if "random" in m}
    if seeds == {1}:
        return f"random words: mean and range of {listed(draws)} draws" if draws else ""
    note = f"median and quartiles of {listed(seeds)} seeds"
    return note + (", for random words of each seed's mean over draws" if draws else "")


def _prepare_axes(axes: Axes, percent: Floats, bands: list[Band]) -> None:
    values = np.concatenate([np.concatenate(band) for band in bands])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    low, high = min(low, high - 0.1), max(high, low + 0.1)
    border = 0.05 * (high - low)
    axes.set_ylim(max(low - border, -0.02), min(high + border, 1.02))
    axes.set_xlim(percent[0] - 1, max(percent[-1], percent[0] + 1) + 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    if len(percent) <= 12:
        axes.set_xticks(percent)
    axes.set_ylabel("accuracy")
    axes.grid(axis="y")


def _describe_loss(highest: Floats, marked: int, percent: float) -> str:
    """The SRS in percentage points: its median, and quartiles over seeds."""
    lower, median, upper = quartiles(100 * (highest[:, :1] - highest[:, [marked]]))[:, 0]
    text = f"SRS({percent:g} %) = {median:.1f} points"
    if len(highest) > 1:
        text += f"\n({lower:.1f} to {upper:.1f})"
    return text.replace("-", "−")


def _draw_legends(
    axes: Axes, models: list[str], losses: list[str], colors: Mapping[str, str], drawn: set[str]
) -> None:
    """Beside the plot: the models by color with their SRS, and the orders by line."""
    from matplotlib.lines import Line2D

    handles = []
    for name, loss in zip(models, losses, strict=True):
        label = fit_word(replace_missing_glyphs(name, " "), TICK_SIZE, width=LEGEND_WIDTH)
        square: Style = {"marker": "s", "color": colors[name]} if colors else {}
        label = f"{label}\n{loss}" if loss else label
        handles.append(Line2D([], [], linestyle="", label=label, **square))
    common: Style = {"borderaxespad": 0.0, "borderpad": 0.0, "alignment": "left"}
    tight: Style = {} if colors else {"handlelength": 0.0, "handletextpad": 0.0}
    above: Style = {"loc": "upper left", "bbox_to_anchor": (1.04, 1.0), "labelspacing": 0.7}
    first = axes.legend(handles=handles, **above, **common, **tight)
    axes.add_artist(first).set_clip_on(False)  # the layout ignores clipped artists
    lines = [
        Line2D(
            [],
            [],
            color=TEXT_COLOR if colors else order.color,
            markersize=3.2,
            label=order.label,
            **order.line,
        )
        for name, order in ORDERS.items()
        if name in drawn
    ]
    axes.legend(handles=lines, loc="lower left", bbox_to_anchor=(1.04, 0.0), **common)
