"""The first k features of one ring: does the order of the rows follow the circle?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.feature_arrays import as_members
from glassbox.plots.feature_legend import draw_feature_key, feature_look, name_panel
from glassbox.plots.feature_panel import draw_features
from glassbox.plots.feature_projection import VIEWS, View, principal_frame
from glassbox.plots.figure_title import layout_title
from glassbox.plots.style import house_style, new_figure, place_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGIN, GAP, CAPTION, KEY = 0.15, 0.14, 0.36, 0.34  # inches
SHARES = (0.22, 0.5, 0.67, 0.83, 1.0)  # of 90 features these are the paper's 20, 45, 60, 75, 90


def first_features(
    weights: ArrayLike,
    counts: Sequence[int] | None = None,
    *,
    view: View | None = None,
    title: str = "",
) -> Figure:
    """Draw the first k rows of W in color, the others as gray dots, for a few k.

    After Figure 4 of the feature-geometry paper. All panels show the same model in the same frame,
    that of all its rows, and on the same scale.

    Args:
        weights: (N, H), row i the direction of the feature at angle 2πi/N.
        counts: Rising numbers k of features, from 1 to N; by default up to five, the paper's for
            N = 90.
        view: From where; by default "oblique", or "top" with fewer than three hidden neurons.
        title: Of the figure.

    Raises:
        ValueError: The weights are not (N, H), a k lies outside 1 to N, or there is no such view.
    """
    from matplotlib import rc_context

    if np.ndim(weights) != 2:
        raise ValueError(
            f"weights has shape {np.shape(weights)}, expected one model's (features, hidden)."
        )
    rows = as_members(weights).weights[0]
    size, hidden = rows.shape
    chosen = (
        sorted({max(1, round(share * size)) for share in SHARES})
        if counts is None
        else [int(count) for count in counts]
    )
    if not chosen or min(chosen) < 1 or max(chosen) > size:
        raise ValueError(f"counts are {chosen}; give numbers of features from 1 to {size}.")
    shown: View = view or ("oblique" if hidden > 2 else "top")
    if shown not in VIEWS:
        raise ValueError(f"views are {', '.join(VIEWS)}, not {shown!r}.")
    columns = min(len(chosen), 6)
    panel = float(np.clip(10.5 / columns - GAP, 1.6, 2.2))
    width = max(2 * MARGIN + columns * (panel + GAP) - GAP, 4.4)
    note = "gray: the features that come after · lines join consecutive features"
    heading = layout_title(title, [note], width - 2 * MARGIN)
    height = heading.height + -(-len(chosen) // columns) * (CAPTION + panel) + KEY
    look = feature_look(size, circular=True, panel=panel)
    frame = principal_frame(rows, circular=True)
    with rc_context(house_style()):
        figure = new_figure(width, height)
        heading.draw(figure, MARGIN)
        for index, count in enumerate(chosen):
            row, column = divmod(index, columns)
            left = MARGIN + column * (panel + GAP)
            top = heading.height + row * (CAPTION + panel) + CAPTION
            axes = place_axes(
                figure, left=left, right=width - left - panel, top=top, bottom=height - top - panel
            )
            draw_features(axes, rows, frame, shown, look, shown=count)
            name_panel(axes, f"first {count}" if count < size else f"all {count}", "", panel)
        draw_feature_key(figure, look, left=MARGIN + 0.62, bottom=0.14)
    return figure
