"""The style of circular features in all panels of a figure, its legend, and the panels' names."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from glassbox.plots.arrays import Floats
from glassbox.plots.colors import group_colors
from glassbox.plots.style import MUTED_COLOR, NOTE_SIZE, TEXT_COLOR, shorten, write_above
from glassbox.plots.word_labels import replace_missing_glyphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND_HEIGHT = 0.34  # inches


class FeatureStyle(NamedTuple):
    """How the features of all panels of a figure are drawn."""

    colors: Floats  # (N, 4)
    panel: float  # side of a panel in inches


def feature_style(num_features: int, *, panel: float) -> FeatureStyle:
    """The style of N features on a circle: cyclic colors."""
    return FeatureStyle(group_colors(np.arange(num_features), "cyclic"), panel)


def name_panel(axes: Axes, name: str, caption: str, width: float) -> None:
    """Write a panel's name above it in bold, and a caption between them, cut to `width` inches."""
    size = NOTE_SIZE + 0.8
    if name:
        text = shorten(replace_missing_glyphs(name, " "), width, size)
        write_above(axes, text, align="center", offset=13, size=size, color=TEXT_COLOR, bold=True)
    if caption:
        text = shorten(replace_missing_glyphs(caption, " "), width, NOTE_SIZE - 0.5)
        write_above(axes, text, align="center", offset=4)


def draw_feature_legend(figure: Figure, style: FeatureStyle, *, left: float) -> None:
    """Draw a strip of the features' colors at the figure's foot, `left` inches from its edge."""
    width, height = figure.get_size_inches()
    strip = figure.add_axes(((left + 0.62) / width, 0.13 / height, 1.5 / width, 0.08 / height))
    strip.imshow(style.colors[None], aspect="auto", interpolation="nearest")
    strip.set(xticks=[], yticks=[])
    strip.spines[:].set_visible(False)
    count = len(style.colors)
    last = f"{count - 1} · feature i at angle 2π · i/{count}" if count > 1 else "the only feature"
    for text, x, align in (("feature 0", -0.04, "right"), (last, 1.04, "left")):
        strip.annotate(
            text,
            (x, 0.5),
            xycoords="axes fraction",
            ha=align,
            va="center",
            size=NOTE_SIZE - 0.5,
            color=MUTED_COLOR,
            annotation_clip=False,
        )
