"""Capacity of each word of one text, one row of bars a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats
from glassbox.plots.figure_title import layout_title
from glassbox.plots.style import (
    LABEL_SIZE,
    MUTED_COLOR,
    NOTE_SIZE,
    POINTS_PER_INCH,
    TICK_SIZE,
    house_style,
    new_figure,
    place_axes,
)
from glassbox.plots.word_labels import (
    IMPORTANT,
    ORDINARY,
    Words,
    as_capacity,
    fit_word,
    prepare_words,
    text_width,
    word_font,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW, ABOVE_ROW = 0.62, 0.33  # inches
MOST_NUMBERS = 26  # bars of more words are too narrow for their values
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

    After Figures 2(a), 4 and 5 of the SAFR paper. Capacity (equation 3) is the share of a word's
    representation that is its own: 1 where no other word of the text points in its direction, 1/T
    where all T words point in the same. A bar that is not finite is drawn as a cross.

    Args:
        capacity: By the layers' names, from the top row to the bottom one, (T,) in 0 to 1.
        words: T words of the text, in order; the first 60 are drawn.
        important: (T,) bool, which words are marked.
        important_name: What the marks mean, for the key.
        title: Of the figure.

    Raises:
        ValueError: There is no layer or no word, shapes differ, or a capacity lies outside 0 to 1.
    """
    from matplotlib import rc_context

    if not capacity:
        raise ValueError("there is no layer to draw.")
    shown = prepare_words(words, important)
    rows = {
        name: as_capacity(values, f"capacity of {name}", len(words))
        for name, values in capacity.items()
    }
    size = len(shown.texts)
    step = float(np.clip(6.2 / size, 0.175, 0.42))  # inches a word
    left, right = 0.62, 0.16
    texts = [
        fit_word(text, TICK_SIZE, bold=bool(bold))
        for text, bold in zip(shown.texts, shown.important, strict=True)
    ]
    longest = max(text_width(text, TICK_SIZE, bold=True) for text in texts) / POINTS_PER_INCH
    bottom = 0.2 + float(np.sin(np.deg2rad(ROTATION))) * longest
    side = max(0.0, 3.6 - step * size)  # few words keep bars of an ordinary width
    width = left + step * size + side + right
    missing = any(not np.isfinite(values[:size]).all() for values in rows.values())
    heading = layout_title(
        title, [shown.note, "× not a finite number" if missing else ""], width - 0.3
    )
    key = 0.22 if shown.important.any() else 0.0
    top = heading.height + key
    height = top + len(rows) * (ABOVE_ROW + ROW) + bottom
    with rc_context(house_style() | {"text.parse_math": False}):
        figure = new_figure(width, height)
        heading.draw(figure, 0.15)
        if key:
            _draw_key(figure, important_name, heading.height)
        for row, (name, values) in enumerate(rows.items()):
            start = top + row * (ABOVE_ROW + ROW) + ABOVE_ROW
            axes = place_axes(
                figure, left=left, right=right + side, bottom=height - start - ROW, top=start
            )
            _draw_row(axes, values[:size], shown)
            _name_row(axes, name, values[:size], shown)
        for index, text in enumerate(texts):
            axes.annotate(
                text,
                (index, 0),
                xytext=(2.5, -5),
                textcoords="offset points",
                rotation=ROTATION,
                rotation_mode="anchor",
                ha="right",
                va="center",
                size=TICK_SIZE,
                annotation_clip=False,
                **word_font(bool(shown.important[index])),
            )
    return figure


def _draw_key(figure: Figure, name: str, below: float) -> None:
    from matplotlib.patches import Patch

    width, height = figure.get_size_inches()
    figure.legend(
        handles=[Patch(color=IMPORTANT, label=name), Patch(color=ORDINARY, label="other words")],
        loc="upper left",
        bbox_to_anchor=(0.15 / width, 1 - below / height),
        borderaxespad=0.0,
        borderpad=0.0,
        handlelength=0.9,
        handleheight=0.8,
        handletextpad=0.5,
        columnspacing=1.4,
        ncols=2,
        fontsize=NOTE_SIZE,
    )


def _draw_row(axes: Axes, values: Floats, shown: Words) -> None:
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_ylim(0, 1)
    axes.set_xticks([])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.grid(axis="y")
    places = np.arange(len(values))
    known = np.isfinite(values)
    for marked, color in ((False, ORDINARY), (True, IMPORTANT)):
        chosen = known & (shown.important == marked)
        axes.bar(places[chosen], values[chosen], width=0.74, color=color, linewidth=0, zorder=2)
    axes.plot(
        places[~known],
        np.full(int((~known).sum()), 0.08),
        linestyle="",
        marker="x",
        markersize=4,
        color=MUTED_COLOR,
        clip_on=False,
    )
    if len(values) > MOST_NUMBERS:
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


def _name_row(axes: Axes, name: str, values: Floats, shown: Words) -> None:
    """Write the layer's name above its row, and its mean capacities at the right end."""
    parts = [("mean", values)]
    if shown.important.any() and not shown.important.all():
        parts += [("important", values[shown.important]), ("other", values[~shown.important])]
    means = []
    for label, part in parts:
        finite = part[np.isfinite(part)]
        means.append(f"{label} {finite.mean():.2f}" if len(finite) else f"{label} nan")
    left: dict[str, Any] = {"weight": "bold", "size": LABEL_SIZE}
    right: dict[str, Any] = {"color": MUTED_COLOR, "size": NOTE_SIZE}
    for text, x, align, font in (
        (name, 0.0, "left", left),
        (" · ".join(means), 1.0, "right", right),
    ):
        axes.annotate(
            text,
            (x, 1),
            xycoords="axes fraction",
            xytext=(0, 10),
            textcoords="offset points",
            ha=align,
            va="baseline",
            annotation_clip=False,
            **font,
        )
