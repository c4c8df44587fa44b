"""Accuracy over the share of words deleted from the texts, by which words go first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats, as_floats, quartiles
from glassbox.plots.colors import HARMONIC, STANDARD, model_colors
from glassbox.plots.figure_title import layout_title
from glassbox.plots.style import (
    MUTED_COLOR,
    NOTE_SIZE,
    TEXT_COLOR,
    TICK_SIZE,
    house_style,
    new_figure,
    place_axes,
)
from glassbox.plots.word_labels import fit_word, replace_missing_glyphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class DeletionCurve(NamedTuple):
    """One model's accuracies in 0 to 1, each over the K shares of deleted words.

    Of S seeds or of one; nan where it was not measured.
    """

    highest: ArrayLike  # (K,) or (S, K): the words of highest capacity are deleted first
    lowest: ArrayLike | None = None  # (K,) or (S, K)
    random: ArrayLike | None = None  # (R, K) or (S, R, K), R draws


class Band(NamedTuple):
    """A line and the limits of its band."""

    middle: Floats  # (K,)
    low: Floats  # (K,)
    high: Floats  # (K,)


def check_shares(percent: ArrayLike) -> Floats:
    """The shares of deleted words in percent, (K,), after a check that they can be an axis."""
    shares = as_floats(percent, "percent", (None,), "(shares,)")
    if not (np.isfinite(shares).all() and (np.diff(shares) > 0).all()):
        raise ValueError("percent must be finite and increasing.")
    if shares[0] < 0 or shares[-1] > 100:
        raise ValueError(
            f"percent goes from {shares[0]:g} to {shares[-1]:g}, expected shares from 0 to 100."
        )
    return shares


def read_curve(name: str, model: DeletionCurve, size: int) -> list[Floats | None]:
    """Accuracies (S, K) by highest and lowest score, and (S, R, K) of random words between."""
    highest = _seeds(model.highest, f"highest of {name}", size, None)
    lowest = random = None
    if model.lowest is not None:
        lowest = _seeds(model.lowest, f"lowest of {name}", size, len(highest))
    if model.random is not None:
        array = np.asarray(model.random, dtype=np.float64)
        array = array[None] if array.ndim == 2 else array
        random = as_floats(
            array, f"random of {name}", (len(highest), None, size), "(seeds, draws, shares)"
        )
    found = [highest, random, lowest]
    for order, values in zip(("highest", "random", "lowest"), found, strict=True):
        if values is not None and ((values < 0) | (values > 1)).any():
            raise ValueError(f"{order} of {name} has accuracies outside of 0 to 1.")
    return found


def _seeds(values: ArrayLike, name: str, size: int, seeds: int | None) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    array = array[None] if array.ndim == 1 else array
    return as_floats(array, name, (seeds, size), "(seeds, shares)")


def make_band(values: Floats | None) -> Band | None:
    """Median and quartiles over seeds; of one seed's draws their mean and range."""
    if values is None:
        return None
    if values.ndim == 3:
        finite = np.isfinite(values)
        if len(values) == 1:
            low = np.where(finite, values, np.inf).min(axis=(0, 1))
            high = np.where(finite, values, -np.inf).max(axis=(0, 1))
        total = np.where(finite, values, 0.0).sum(axis=1)
        count = finite.sum(axis=1)
        means = np.where(count > 0, total / np.maximum(count, 1), np.nan)  # (S, K)
        if len(values) == 1:
            known = np.isfinite(means[0])
            return Band(means[0], np.where(known, low, np.nan), np.where(known, high, np.nan))
        values = means
    lower, median, upper = quartiles(values)
    return Band(median, lower, upper)


RANDOM = "#7A7A7A"
ORDERS = ("highest first", "random words", "lowest first")
STYLES: tuple[Any, ...] = ("-", (0, (1, 1.4)), (0, (5, 2)))  # of these three
WIDTHS = (1.8, 1.4, 1.1)
MARKERS = ("o", None, None)
LEFT, PLOT = 0.72, (4.4, 2.9)  # inches; ticks such as "62.5 %" need room
KEY = 2.25  # inches
KEY_TEXT = 128.0  # typographic points


def deletion_curve(
    percent: ArrayLike,
    models: Mapping[str, DeletionCurve],
    *,
    majority: float | None = None,
    marked_percent: float | None = None,
    score: str = "capacity",
    title: str = "",
) -> Figure:
    """Draw how accuracy falls when the words that a score ranks highest are deleted.

    After Figure 3 of the SAFR paper, with the two controls that it lacks: as many random words,
    and the lowest-ranked ones first. A score that knows which words matter lets the first line
    fall fastest and the last one stay. With several seeds a line is their median and its band their
    quartiles (for random words of each seed's mean over draws); with one seed, random words are the
    mean over the draws within the range of the draws. With one model colors tell the orders apart,
    with several the models.

    Args:
        percent: (K,) increasing shares of deleted words, 0 to 100.
        models: By the models' names.
        majority: Share of the most frequent class, 0 to 1, as a thin line.
        marked_percent: One of `percent`, at which the loss of accuracy since 0 % (the SRS, in
            percent points) stands in the key; `percent` has to begin with 0 then.
        score: What orders the words, for the axis.
        title: Of the figure.

    Raises:
        ValueError: There is no model, shapes differ, or a value lies outside its range.
    """
    from matplotlib import rc_context

    if not models:
        raise ValueError("there is no deletion curve to draw.")
    shares = check_shares(percent)
    marked = _find_mark(shares, marked_percent)
    if majority is not None and not 0 <= majority <= 1:
        raise ValueError(f"majority is {majority:g}, expected a share from 0 to 1.")
    given = [read_curve(name, model, len(shares)) for name, model in models.items()]
    bands = [[make_band(values) for values in model] for model in given]

    several = len(given) > 1
    colors = [[color] * 3 for color in model_colors(list(models))]
    if not several:
        colors = [[HARMONIC, RANDOM, STANDARD]]
    heading = layout_title(title, [_bands_note(given)], LEFT + PLOT[0] + KEY - 0.3)
    with rc_context(house_style() | {"text.parse_math": False}):
        top = heading.height + 0.16
        plot = max(PLOT[1], 0.5 * len(given) + 0.75)  # the key has to fit beside it
        figure = new_figure(LEFT + PLOT[0] + KEY, top + plot + 0.5)
        heading.draw(figure, 0.15)
        axes = place_axes(figure, left=LEFT, right=KEY, bottom=0.5, top=top)
        _prepare(axes, shares, bands, majority)
        axes.set_xlabel(
            f"words deleted from each text, ordered by {replace_missing_glyphs(score, ' ')}"
        )
        if marked is not None:
            axes.axvline(shares[marked], color=MUTED_COLOR, linewidth=0.6, linestyle=(0, (4, 3)))
        for model, tones in zip(bands, colors, strict=True):
            for kind in (2, 1, 0):  # the line that matters lies on top
                _draw(axes, shares, model[kind], kind, tones[kind])
        used = [any(model[kind] is not None for model in bands) for kind in range(3)]
        _draw_key(
            axes,
            [
                (fit_word(replace_missing_glyphs(name, " "), TICK_SIZE, width=KEY_TEXT), tones[0])
                for name, tones in zip(models, colors, strict=True)
            ],
            [_loss(model[0], marked, shares) for model in given],
            [
                (order, kind, TEXT_COLOR if several else colors[0][kind])
                for kind, (order, drawn) in enumerate(zip(ORDERS, used, strict=True))
                if drawn
            ],
        )
    return figure


def _find_mark(shares: Floats, marked: float | None) -> int | None:
    if marked is None:
        return None
    found = np.flatnonzero(np.isclose(shares, marked))
    if not len(found) or shares[0] != 0:
        raise ValueError(
            f"marked_percent is {marked:g}, expected one of percent, which has to begin with 0."
        )
    return int(found[0])


def _bands_note(given: list[list[Floats | None]]) -> str:
    seeds = sorted({len(values) for model in given for values in model if values is not None})
    if seeds == [1]:
        draws = sorted({model[1].shape[1] for model in given if model[1] is not None})
        many = " or ".join(str(count) for count in draws)
        return f"random words: mean and range of {many} draws" if draws else ""
    many = " or ".join(str(count) for count in seeds)
    note = f"median and quartiles of {many} seeds"
    if any(model[1] is not None for model in given):
        note += ", for random words of each seed's mean over draws"
    return note


def _prepare(
    axes: Axes, shares: Floats, bands: list[list[Band | None]], majority: float | None
) -> None:
    values = np.concatenate([np.concatenate(band) for model in bands for band in model if band])
    values = values[np.isfinite(values)]
    if majority is not None:
        values = np.append(values, majority)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    low, high = min(low, high - 0.1), max(high, low + 0.1)
    border = 0.05 * (high - low)
    axes.set_ylim(max(low - border, -0.02), min(high + border, 1.02))
    axes.set_xlim(shares[0] - 1, max(shares[-1], shares[0] + 1) + 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    if len(shares) <= 12:
        axes.set_xticks(shares)
    axes.set_ylabel("accuracy")
    axes.grid(axis="y")
    if majority is not None:
        axes.axhline(majority, color=MUTED_COLOR, linewidth=0.8)
        axes.annotate(
            f"majority class {100 * majority:.1f} %",
            (0, majority),
            xycoords=("axes fraction", "data"),
            xytext=(3, 3),
            textcoords="offset points",
            size=NOTE_SIZE,
            color=MUTED_COLOR,
        )


def _draw(axes: Axes, shares: Floats, band: Band | None, kind: int, color: str) -> None:
    if band is None:
        return
    if (band.high > band.low).any():
        axes.fill_between(
            shares, band.low, band.high, color=color, alpha=0.16, linewidth=0, zorder=2.2
        )
    axes.plot(
        shares,
        band.middle,
        color=color,
        linestyle=STYLES[kind],
        linewidth=WIDTHS[kind],
        marker=MARKERS[kind],
        markersize=3.2,
        zorder=3 - 0.1 * kind,
    )


def _loss(highest: Floats | None, marked: int | None, shares: Floats) -> str:
    """The SRS at the marked share, in percent points: its median, and quartiles over seeds."""
    if highest is None or marked is None:
        return ""
    lower, median, upper = quartiles(100 * (highest[:, :1] - highest[:, [marked]]))[:, 0]
    text = f"SRS({shares[marked]:g} %) = {median:.1f} points"
    if len(highest) > 1:
        text += f"\n({lower:.1f} to {upper:.1f})"
    return text.replace("-", "−")


def _draw_key(
    axes: Axes,
    models: list[tuple[str, str]],
    losses: list[str],
    orders: list[tuple[str, int, str]],
) -> None:
    """At the right of the plot: the models by color with their SRS, and the orders by line."""
    from matplotlib.lines import Line2D

    handles = []
    for (name, color), loss in zip(models, losses, strict=True):
        label = f"{name}\n{loss}" if loss else name
        marker = "s" if len(models) > 1 else ""
        handles.append(Line2D([], [], linestyle="", marker=marker, color=color, label=label))
    common: dict[str, Any] = {"borderaxespad": 0.0, "borderpad": 0.0, "alignment": "left"}
    tight = {} if len(models) > 1 else {"handlelength": 0.0, "handletextpad": 0.0}
    first = axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.04, 1.0),
        labelspacing=0.7,
        **common,
        **tight,
    )
    axes.add_artist(first)
    lines = [
        Line2D(
            [],
            [],
            color=color,
            linestyle=STYLES[kind],
            linewidth=WIDTHS[kind],
            marker=MARKERS[kind],
            markersize=3.2,
            label=name,
        )
        for name, kind, color in orders
    ]
    axes.legend(handles=lines, loc="lower left", bbox_to_anchor=(1.04, 0.0), **common)
