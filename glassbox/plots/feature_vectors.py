"""The features' directions in the hidden layer, a panel a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.feature_arrays import Members, as_members, as_names
from glassbox.plots.feature_legend import draw_feature_key, feature_look, name_panel
from glassbox.plots.feature_panel import counted_clusters, draw_features
from glassbox.plots.feature_projection import VIEWS, View, principal_frame
from glassbox.plots.figure_title import layout_title
from glassbox.plots.style import MUTED_COLOR, NOTE_SIZE, house_style, new_figure, place_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGIN, GAP, CAPTION, KEY = 0.15, 0.12, 0.38, 0.34  # inches
SIDE = 0.2  # for the views' names
LARGEST, SMALLEST, WIDEST = 2.4, 1.45, 13.2  # inches: a panel's side, the figure


def feature_vectors(
    weights: ArrayLike,
    *,
    circular: bool = False,
    names: Sequence[str] | None = None,
    captions: Sequence[str] | None = None,
    views: Sequence[View] | None = None,
    title: str = "",
) -> Figure:
    """Draw the rows of W of every model: what each feature adds to the hidden layer.

    After Figures 3 and 6 of the feature-geometry paper, and the polygons of Toy Models. Models with
    two hidden neurons are drawn on these neurons' axes. With three or more they are seen in their
    three principal directions about the origin, from above at an angle and below it straight from
    above, so that a flat ring can be told from a bent one. Panels are scaled to their own rows;
    the mean length of these stands above them.

    Args:
        weights: (N, H) or (S, N, H), row i the direction of feature i.
        circular: Feature i lies at angle 2πi/N of a circle: points of cyclic colors, the next one
            to each joined to it, and the size written at each tight cluster. If not, arrows from
            the origin (points if there are more than 60), from feature 0's dark color on.
        names: S texts above the panels, such as "ℓ = 0.3".
        captions: S further texts, such as "explained 93 %".
        views: Which ones, from the top row down; by default "oblique" and "top", or, with fewer
            than three hidden neurons, "top".
        title: Of the figure.

    Raises:
        ValueError: Shapes do not fit, or there is no view or no such view.
    """
    from matplotlib import rc_context

    members = as_members(weights, names)
    texts = as_names(captions, len(members.names), "captions")
    count, size, hidden = members.weights.shape
    chosen: list[View] = list(views or (["top"] if hidden < 3 else ["oblique", "top"]))
    unknown = [view for view in chosen if view not in VIEWS]
    if unknown:
        raise ValueError(f"views are {', '.join(VIEWS)}, not {unknown[0]!r}.")
    side = SIDE if hidden > 2 else 0.0
    columns = min(count, max(1, int((WIDEST - 2 * MARGIN - side) / (SMALLEST + GAP))))
    columns = -(-count // -(-count // columns))  # rows of about the same length
    panel = float(np.clip((11.0 - side) / columns - GAP, SMALLEST, LARGEST))
    blocks = -(-count // columns)
    width = max(2 * MARGIN + side + columns * (panel + GAP) - GAP, 4.4)
    heading = layout_title(title, [_note(members, circular)], width - 2 * MARGIN)
    block = CAPTION + len(chosen) * panel + 0.06
    height = heading.height + blocks * block + KEY
    look = feature_look(size, circular=circular, panel=panel)
    longest = np.linalg.norm(members.weights[members.finite], axis=-1).max(initial=0.0)
    reach = None if circular else 1.16 * float(longest)
    with rc_context(house_style()):
        figure = new_figure(width, height)
        heading.draw(figure, MARGIN)
        for index, rows in enumerate(members.weights):
            row, column = divmod(index, columns)
            frame = principal_frame(rows, circular=circular)
            left = MARGIN + side + column * (panel + GAP)
            for place, view in enumerate(chosen):
                top = heading.height + row * block + CAPTION + place * panel
                axes = place_axes(
                    figure,
                    left=left,
                    right=width - left - panel,
                    top=top,
                    bottom=height - top - panel,
                )
                lowest = place == len(chosen) - 1
                draw_features(
                    axes, rows, frame, view, look, reach=reach, counts=circular and lowest
                )
                if place == 0:
                    caption = " · ".join(t for t in (texts[index], _mean_norm(rows)) if t)
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
        draw_feature_key(figure, look, left=MARGIN + 0.62, bottom=0.14)
    return figure


def _mean_norm(rows: np.ndarray) -> str:
    norm = np.linalg.norm(rows, axis=1).mean()
    return f"norm {norm:.2f}" if np.isfinite(norm) else ""


def _note(members: Members, circular: bool) -> str:
    hidden = members.weights.shape[2]
    notes = ["norm: the mean length of a model's rows"]
    if hidden > 3:
        notes.append(f"three principal directions of {hidden} dimensions")
    if circular:
        notes += ["each panel on its own scale", "lines join consecutive features"]
        if any(counted_clusters(rows) for rows in members.weights):
            notes.append("numbers count the features of a tight cluster")
    else:
        notes.append("dotted: length 1")
    return " · ".join(notes)
