"""Norm and bias of every feature, beside a picture of the features' directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats
from glassbox.plots.feature_arrays import as_biases, as_members
from glassbox.plots.feature_legend import feature_style
from glassbox.plots.feature_panel import draw_features
from glassbox.plots.feature_projection import View, principal_frame
from glassbox.plots.figure_title import titled_figure
from glassbox.plots.style import (
    LABEL_SIZE,
    LINE,
    TEXT_COLOR,
    house_style,
    index_ticks,
    remove_unused,
    shorten,
    write_above,
)
from glassbox.plots.word_labels import replace_missing_glyphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURE, CHART, ROW = 1.5, 3.7, 1.75  # inches: widths of a block's parts, height of a row
NORM_COLOR, BIAS_COLOR = "#0072B2", "#D55E00"


def norms_and_biases(
    weights: ArrayLike,
    biases: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """Draw each circular feature's norm ‖W_i‖ and its −b_i, beside a picture of the rows.

    After Figure 5 of the feature-geometry paper. Each model has its own scale, shared by both
    quantities, since a feature alone at value x is recovered as ‖W_i‖² x + b_i.

    Args:
        weights: (N, H) or (S, N, H), row i the direction of the feature at angle 2πi/N.
        biases: (N,) or (S, N), of the output of each feature.
        names: S texts, such as "ℓ = 0.6".
        title: Figure title.

    Raises:
        ValueError: Shapes do not fit.
    """
    from matplotlib import rc_context
    from matplotlib.lines import Line2D

    members = as_members(weights, names)
    offsets = as_biases(biases, members)
    count, size, hidden = members.weights.shape
    columns = min(count, 2)
    rows = -(-count // columns)
    notes = ["above each chart: mean ± standard deviation over the features"]
    if not (members.finite & np.isfinite(offsets).all(axis=1)).all():
        notes.append("values that are not finite are left out")
    style = feature_style(size, panel=PICTURE)
    view: View = "oblique" if hidden > 2 else "top"
    legend = [
        Line2D([], [], color=color, marker="o", markersize=3.5, linewidth=0.9, label=label)
        for color, label in (
            (NORM_COLOR, "norm ‖W_i‖"),
            (BIAS_COLOR, "−b_i: above 0, the bias is negative"),
        )
    ]
    with rc_context(house_style()):
        width = 0.3 + columns * (PICTURE + CHART)
        figure = titled_figure(width, rows * ROW + 0.3, title, notes, legend=legend)
        panels = figure.subplots(
            rows, 2 * columns, squeeze=False, width_ratios=[PICTURE, CHART] * columns
        ).reshape(-1, 2)
        remove_unused(panels, 2 * count)
        for index, (picture, chart) in enumerate(panels[:count]):
            frame = principal_frame(members.weights[index])
            draw_features(picture, members.weights[index], frame, view, style)
            _draw_chart(chart, members.weights[index], offsets[index])
            name = replace_missing_glyphs(members.names[index], " ")
            write_above(
                chart,
                shorten(name, 0.45 * CHART, LABEL_SIZE),
                size=LABEL_SIZE,
                color=TEXT_COLOR,
                bold=True,
            )
            if index + columns >= count:
                chart.set_xlabel("feature, around the circle")
    return figure


def _draw_chart(axes: Axes, rows: Floats, biases: Floats) -> None:
    norms = np.linalg.norm(rows, axis=1)
    size = len(norms)
    marker = float(np.clip(160 / size, 1.2, 3.6))
    for values, color, label in ((norms, NORM_COLOR, "norm"), (-biases, BIAS_COLOR, "-bias")):
        axes.plot(
            np.where(np.isfinite(values), values, np.nan),
            color=color,
            linewidth=0.9,
            marker="o",
            markersize=marker,
            markeredgewidth=0,
            label=label,
            clip_on=False,
        )
    finite = np.concatenate([norms, -biases])
    finite = finite[np.isfinite(finite)]
    low, high = min(0.0, finite.min(initial=0.0)), max(0.0, finite.max(initial=0.0))
    high = high if high > low else low + 1.0
    axes.set_ylim(low - 0.04 * (high - low), high + 0.06 * (high - low))
    axes.set_xlim(-0.02 * size - 0.5, size - 0.5 + 0.02 * size)
    axes.axhline(0, color=LINE, linewidth=0.7, zorder=1)
    axes.grid(axis="y")
    axes.locator_params(axis="y", nbins=5)
    axes.set_xticks(index_ticks(size, 8))
    texts = [
        f"{name} {values.mean():.2g} ± {values.std():.1g}".replace("-", "−")
        for name, values in (("norm", norms), ("−b", -biases))
        if np.isfinite(values).all()
    ]
    write_above(axes, " · ".join(texts), align="right")
