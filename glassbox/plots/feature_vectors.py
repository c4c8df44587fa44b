"""The features' directions in the hidden layer, one panel per model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats
from glassbox.plots.feature_arrays import Members, as_members, as_names
from glassbox.plots.feature_legend import (
    LEGEND_HEIGHT,
    draw_feature_legend,
    feature_style,
    name_panel,
)
from glassbox.plots.feature_panel import counted_clusters, draw_features
from glassbox.plots.feature_projection import VIEWS, principal_frame, views_of
from glassbox.plots.figure_title import LEFT, layout_title
from glassbox.plots.style import (
    MUTED_COLOR,
    NOTE_SIZE,
    balanced_columns,
    house_style,
    new_figure,
    place_axes,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GAP, ABOVE, SIDE = 0.12, 0.38, 0.2  # inches between panels, for names, and for the views' names
MAX_SIZE, MIN_SIZE, MAX_WIDTH = 2.4, 1.45, 13.2  # inches: a panel's side, the figure


def feature_vectors(
    weights: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    captions: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """Draw the rows of W of every model of circular features: what each adds to the hidden layer.

    After Figures 3 and 6 of the feature-geometry paper. Models with two hidden neurons are drawn on
    these neurons' axes. With three or more the first row of panels shows their three principal
    directions about the origin from above at an angle, and the second from straight above, which
    tells a flat ring from a bent one. Lines join consecutive features, and the number of features
    is written at each tight cluster. Each panel has its own scale; the rows' mean norm is written
    above it.

    Args:
        weights: (N, H) or (S, N, H), row i the direction of the feature at angle 2πi/N.
        names: S texts above the panels, such as "ℓ = 0.3".
        captions: S further texts, such as "explained 93 %".
        title: Figure title.

    Raises:
        ValueError: Shapes do not fit.
    """
    from matplotlib import rc_context

    members = as_members(weights, names)
    texts = as_names(captions, len(members.names), "captions")
    count, size, hidden = members.weights.shape
    views = views_of(hidden)
    side = SIDE if hidden > 2 else 0.0
    columns = balanced_columns(count, int((MAX_WIDTH - 2 * LEFT - side) / (MIN_SIZE + GAP)))
    panel = float(np.clip((11.0 - side) / columns - GAP, MIN_SIZE, MAX_SIZE))
    width = max(2 * LEFT + side + columns * (panel + GAP) - GAP, 4.4)
    heading = layout_title(title, _notes(members), width - 2 * LEFT)
    block = ABOVE + len(views) * panel + 0.06
    height = heading.height + -(-count // columns) * block + LEGEND_HEIGHT
    style = feature_style(size, panel=panel)
    with rc_context(house_style()):
        figure = new_figure(width, height)
        heading.draw(figure)
        for index, rows in enumerate(members.weights):
            row, column = divmod(index, columns)
            frame = principal_frame(rows)
            left = LEFT + side + column * (panel + GAP)
            for place, view in enumerate(views):
                top = heading.height + row * block + ABOVE + place * panel
                axes = place_axes(figure, left, top, panel, panel)
                draw_features(axes, rows, frame, view, style, counts=view == "top")
                if place == 0:
                    caption = " · ".join(text for text in (texts[index], mean_norm(rows)) if text)
                    name_panel(axes, members.names[index], caption, panel + 0.8 * GAP)
                if column == 0 and hidden > 2:
                    axes.annotate(
                        VIEWS[view] if panel > 1.9 else view,
                        (0, 0.5),
                        xycoords="axes fraction",
                        xytext=(-5, 0),
                        textcoords="offset points",
                        rotation=90,
                        ha="right",
                        va="center",
                        size=NOTE_SIZE - 0.5,
                        color=MUTED_COLOR,
                        annotation_clip=False,
                    )
        draw_feature_legend(figure, style, left=LEFT)
    return figure


def mean_norm(rows: Floats) -> str:
    """The mean length of rows (N, H) as a caption; empty if it is not finite."""
    norm = np.linalg.norm(rows, axis=1).mean()
    return f"norm {norm:.2g}" if np.isfinite(norm) else ""


def _notes(members: Members) -> list[str]:
    notes = ["norm: the mean length of a model's rows"]
    hidden = members.weights.shape[2]
    if hidden > 3:
        notes.append(f"three principal directions of {hidden} dimensions")
    notes += ["each panel on its own scale", "lines join consecutive features"]
    if any(counted_clusters(rows) for rows in members.weights):
        notes.append("numbers count the features of a tight cluster")
    return notes
