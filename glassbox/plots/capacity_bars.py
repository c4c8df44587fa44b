"""Capacity of each word of one text, one row of bars per layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats
from glassbox.plots.figure_title import titled_figure
from glassbox.plots.style import (
    LABEL_SIZE,
    MUTED_COLOR,
    POINTS_PER_INCH,
    TEXT_COLOR,
    TICK_SIZE,
    Style,
    house_style,
    write_above,
)
from glassbox.plots.word_labels import (
    IMPORTANT,
    ORDINARY,
    Words,
    as_capacity,
    prepare_words,
    text_width,
    word_font,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.98  # inches of a layer's row with its name
MAX_NUMBERS = 26  # bars of more words are too narrow for their values
ROTATION = 60.0  # degrees, of the words


def capacity_bars(
    capacity: Mapping[str, ArrayLike],
    words: Sequence[str],
    *,
    important: ArrayLike | None = None,
    important_name: str = "important: top 30 % by VMASK",
    title: str = "",
) -> Figure:
    """Draw the capacity of every word in every layer, all layers on the same axis from 0 to 1.

    After Figures 2(a), 4 and 5 of the SAFR paper. Capacity (equation 3) is the fraction of a word's
    representation that is its own: 1 where no other word of the text points in its direction, 1/T
    where all T words point in the same. A value that is not finite is drawn as a cross.

    Args:
        capacity: By layer name, from the top row to the bottom one, (T,) in 0 to 1.
        words: T words of the text, in order; the first 60 are drawn.
        important: (T,) bool, which words are marked.
        important_name: What the marks mean, for the legend.
        title: Figure title.

    Raises:
        ValueError: There is no layer or no word, shapes differ, or a capacity lies outside 0 to 1.
    """
    from matplotlib import rc_context
    from matplotlib.patches import Patch

    if not capacity:
        raise ValueError("capacity is empty: there is no layer to draw.")
    shown = prepare_words(words, important)
    size = len(shown.texts)
    rows = {
        name: as_capacity(values, f"capacity of {name}", len(words))[:size]
        for name, values in capacity.items()
    }
    texts = shown.fit(TICK_SIZE)
    longest = max(text_width(text, TICK_SIZE, bold=True) for text in texts) / POINTS_PER_INCH
    width = 0.85 + max(size * float(np.clip(6.2 / size, 0.175, 0.42)), 3.6)
    notes = [shown.note]
    if not all(np.isfinite(values).all() for values in rows.values()):
        notes.append("× not a finite number")
    legend = []
    if shown.important.any():
        legend = [Patch(color=IMPORTANT, label=important_name)]
        legend.append(Patch(color=ORDINARY, label="other words"))
    with rc_context(house_style() | {"text.parse_math": False}):
        height = len(rows) * ROW + float(np.sin(np.deg2rad(ROTATION))) * longest + 0.1
        figure = titled_figure(width, height, title, notes, legend=legend)
        panels = figure.subplots(len(rows), squeeze=False)[:, 0]
        for axes, (name, values) in zip(panels, rows.items(), strict=True):
            _draw_row(axes, values, shown)
            write_above(axes, name, offset=10, size=LABEL_SIZE, color=TEXT_COLOR, bold=True)
            write_above(axes, _describe_means(values, shown), align="right", offset=10, size=7.0)
        panels[-1].set_xticks(
            range(size), texts, rotation=ROTATION, ha="right", rotation_mode="anchor"
        )
        for label, marked in zip(panels[-1].get_xticklabels(), shown.important, strict=True):
            label.set(**word_font(bool(marked)))
    return figure


def _draw_row(axes: Axes, values: Floats, shown: Words) -> None:
    axes.set(xlim=(-0.6, max(len(values), 8) - 0.4), ylim=(0, 1))
    axes.set_xticks([])
    axes.tick_params(axis="x", length=0)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.grid(axis="y")
    places = np.arange(len(values))
    known = np.isfinite(values)
    for marked, color in ((False, ORDINARY), (True, IMPORTANT)):
        chosen = known & (shown.important == marked)
        axes.bar(places[chosen], values[chosen], width=0.74, color=color, linewidth=0, zorder=2)
    if not known.all():
        missing = places[~known]
        style: Style = {"linestyle": "", "marker": "x", "markersize": 4, "color": MUTED_COLOR}
        axes.plot(missing, np.full(len(missing), 0.08), clip_on=False, **style)
    if len(values) > MAX_NUMBERS:
        return
    for place in places[known].tolist():
        axes.annotate(
            f"{values[place]:.2f}".removeprefix("0"),
            (place, values[place]),
            xytext=(0, 1.5),
            textcoords="offset points",
            ha="center",
            size=5.6,
            color=MUTED_COLOR,
            annotation_clip=False,
        )


def _describe_means(values: Floats, shown: Words) -> str:
    """Mean capacity, and the means of important and other words where there are both."""
    parts = [("mean", values)]
    if shown.important.any() and not shown.important.all():
        parts += [("important", values[shown.important]), ("other", values[~shown.important])]
    means = []
    for label, part in parts:
        finite = part[np.isfinite(part)]
        means.append(f"{label} {finite.mean():.2f}" if len(finite) else f"{label} nan")
    return " · ".join(means)
