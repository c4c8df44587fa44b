"""How long each feature's direction is, and how far its bias pulls it down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats
from glassbox.plots.feature_arrays import as_biases, as_members
from glassbox.plots.feature_legend import Look, feature_look
from glassbox.plots.feature_panel import draw_features
from glassbox.plots.feature_projection import principal_frame
from glassbox.plots.figure_title import layout_title
from glassbox.plots.style import (
    LABEL_SIZE,
    LINE,
    MUTED_COLOR,
    NOTE_SIZE,
    house_style,
    new_figure,
    place_axes,
    shorten,
)
from glassbox.plots.word_labels import replace_missing_glyphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARGIN, NAME, GAP = 0.15, 0.3, 0.16  # inches
PICTURE, AXIS, CHART, ROW = 1.5, 0.55, 3.1, 1.3  # widths of a block's parts, height of its row
NORM_COLOR, BIAS_COLOR = "#0072B2", "#D55E00"


def norms_and_biases(
    weights: ArrayLike,
    biases: ArrayLike,
    *,
    circular: bool = True,
    names: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """Draw each feature's norm ‖W_i‖ and its −b_i, beside a picture of the rows.

    After Figure 5 of the feature-geometry paper. Each model has its own scale; both quantities
    stand on it, since a feature alone at value x is recovered as ‖W_i‖² x + b_i.

    Args:
        weights: (N, H) or (S, N, H), row i the direction of feature i.
        biases: (N,) or (S, N), of the output of each feature.
        circular: Feature i lies at angle 2πi/N of a circle; else in no order that closes.
        names: S texts, such as "ℓ = 0.6".
        title: Of the figure.

    Raises:
        ValueError: Shapes do not fit.
    """
    from matplotlib import rc_context

    members = as_members(weights, names)
    offsets = as_biases(biases, members)
    count, size, _ = members.weights.shape
    columns = 1 if count == 1 else 2
    rows = -(-count // columns)
    block = PICTURE + AXIS + CHART
    width = 2 * MARGIN + columns * block + (columns - 1) * GAP
    broken = not (members.finite & np.isfinite(offsets).all(axis=1)).all()
    notes = [
        "above each chart: mean ± standard deviation over the features",
        "values that are not finite are left out" if broken else "",
    ]
    heading = layout_title(title, notes, width - 2 * MARGIN)
    key, foot = 0.22, 0.42
    top = heading.height + 0.04 + key
    height = top + rows * (NAME + ROW) + (rows - 1) * 0.2 + foot
    look = feature_look(size, circular=circular, panel=PICTURE)
    with rc_context(house_style()):
        figure = new_figure(width, height)
        heading.draw(figure, MARGIN)
        for index, name in enumerate(members.names):
            row, column = divmod(index, columns)
            left = MARGIN + column * (block + GAP)
            start = top + row * (NAME + ROW + 0.2) + NAME
            box = {"top": start, "bottom": height - start - ROW}
            picture = place_axes(figure, left=left, right=width - left - PICTURE, **box)
            _draw_picture(picture, members.weights[index], look)
            x = left + PICTURE + AXIS
            chart = place_axes(figure, left=x, right=width - x - CHART, **box)
            _draw_chart(chart, members.weights[index], offsets[index], circular=circular)
            chart.tick_params(labelbottom=index + columns >= count)
            if index + columns >= count:
                chart.set_xlabel("feature" + (", round the circle" if circular else ""))
            chart.annotate(
                shorten(replace_missing_glyphs(name, " ") if name else "", 0.5 * CHART, LABEL_SIZE),
                (0, 1),
                xycoords="axes fraction",
                xytext=(0, 6),
                textcoords="offset points",
                weight="bold",
                size=LABEL_SIZE,
                annotation_clip=False,
                parse_math=False,
            )
        _draw_key(figure, heading.height + 0.04)
    return figure


def _draw_picture(axes: Axes, rows: Floats, look: Look) -> None:
    view = "oblique" if rows.shape[1] > 2 else "top"
    frame = principal_frame(rows, circular=look.circular)
    draw_features(axes, rows, frame, view, look)  # type: ignore[arg-type]


def _draw_chart(axes: Axes, rows: Floats, biases: Floats, *, circular: bool) -> None:
    norms = np.linalg.norm(rows, axis=1)
    size = len(norms)
    places = np.arange(size)
    marker = float(np.clip(160 / size, 1.2, 3.6))
    for values, color, label in ((norms, NORM_COLOR, "norm"), (-biases, BIAS_COLOR, "-bias")):
        shown = np.where(np.isfinite(values), values, np.nan)
        axes.plot(
            places,
            shown,
            color=color,
            linewidth=0.9 if circular else 0.0,
            marker="o",
            markersize=marker,
            markeredgewidth=0,
            label=label,
            clip_on=False,
        )
    finite = np.concatenate([norms, -biases])
    finite = finite[np.isfinite(finite)]
    low, high = (min(0.0, finite.min()), max(0.0, finite.max())) if len(finite) else (0.0, 1.0)
    high = high if high > low else low + 1.0
    axes.set_ylim(low - 0.04 * (high - low), high + 0.06 * (high - low))
    axes.set_xlim(-0.02 * size - 0.5, size - 0.5 + 0.02 * size)
    axes.axhline(0, color=LINE, linewidth=0.7, zorder=1)
    axes.grid(axis="y")
    axes.locator_params(axis="y", nbins=5)
    step = next(s for s in (1, 2, 5, 10, 15, 20, 30, 50, 100, 200, 500, 1000) if size <= 8 * s)
    axes.set_xticks(range(0, size, step))
    texts = [
        f"{name} {values.mean():.2g} ± {values.std():.1g}".replace("-", "−")
        for name, values in (("norm", norms), ("−b", -biases))
        if np.isfinite(values).all()
    ]
    axes.annotate(
        " · ".join(texts),
        (1, 1),
        xycoords="axes fraction",
        xytext=(0, 6),
        textcoords="offset points",
        ha="right",
        size=NOTE_SIZE - 0.5,
        color=MUTED_COLOR,
        annotation_clip=False,
    )


def _draw_key(figure: Figure, below: float) -> None:
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    handles = [
        Line2D([], [], color=color, marker="o", markersize=3.5, linewidth=0.9, label=label)
        for color, label in (
            (NORM_COLOR, "norm ‖W_i‖"),
            (BIAS_COLOR, "−b_i: above 0, the bias is negative"),
        )
    ]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(MARGIN / width, 1 - below / height),
        borderaxespad=0.0,
        borderpad=0.0,
        columnspacing=1.4,
        ncols=2,
        fontsize=NOTE_SIZE,
    )
