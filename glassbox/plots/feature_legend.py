"""How features look in all panels of a figure, the key to it, and the panels' names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from glassbox.plots.arrays import Floats
from glassbox.plots.colors import group_colors
from glassbox.plots.style import MUTED_COLOR, NOTE_SIZE, TEXT_COLOR, shorten
from glassbox.plots.word_labels import replace_missing_glyphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ARROWS = 60


class Look(NamedTuple):
    """How the features of all panels of a figure are drawn."""

    colors: Floats  # (N, 4)
    circular: bool  # features lie on a circle: consecutive ones are joined
    arrows: bool  # arrows from the origin rather than points
    panel: float  # inches


def feature_look(num_features: int, *, circular: bool, panel: float) -> Look:
    """The look of N features: circular ones as points in a ring, few others as arrows."""
    colors = group_colors(np.arange(num_features), "cyclic" if circular else "sequential")
    return Look(colors, circular, not circular and num_features <= MOST_ARROWS, panel)


def name_panel(axes: Axes, name: str, caption: str, width: float) -> None:
    """Write a panel's name in bold above it, and the caption between the two."""
    for text, offset, size, color, weight in (
        (name, 13.0, NOTE_SIZE + 0.8, TEXT_COLOR, "bold"),
        (caption, 4.0, NOTE_SIZE - 0.5, MUTED_COLOR, "normal"),
    ):
        if not text:
            continue
        axes.annotate(
            shorten(replace_missing_glyphs(text, " "), width, size),
            (0.5, 1.0),
            xycoords="axes fraction",
            xytext=(0, offset),
            textcoords="offset points",
            ha="center",
            va="baseline",
            size=size,
            color=color,
            weight=weight,
            annotation_clip=False,
            parse_math=False,
        )


def draw_feature_key(figure: Figure, look: Look, *, left: float, bottom: float) -> None:
    """A strip of the features' colors, with the first and last feature at its ends, in inches.

    Of circular features it says which angle is which.
    """
    width, height = figure.get_size_inches()
    strip = figure.add_axes((left / width, bottom / height, 1.5 / width, 0.08 / height))
    strip.imshow(look.colors[None], aspect="auto", interpolation="nearest")
    strip.set(xticks=[], yticks=[])
    for side in strip.spines.values():
        side.set_visible(False)
    last = len(look.colors) - 1
    order = f" · feature i at angle 2π · i/{last + 1}" if look.circular else ", in order"
    font: dict[str, Any] = {"size": NOTE_SIZE - 0.5, "color": MUTED_COLOR, "va": "center"}
    ends = (
        ("feature 0", -0.04, "right"),
        (f"{last}{order}" if last else "the only feature", 1.04, "left"),
    )
    for text, x, align in ends:
        strip.annotate(
            text, (x, 0.5), xycoords="axes fraction", ha=align, annotation_clip=False, **font
        )
