"""WᵀW and biases: what every feature contributes to each output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.arrays import Floats
from glassbox.plots.colors import MISSING, draw_color_scale
from glassbox.plots.feature_arrays import as_biases, as_members, interference_of
from glassbox.plots.figure_title import LEFT, titled_figure
from glassbox.plots.style import (
    LABEL_SIZE,
    NOTE_SIZE,
    TEXT_COLOR,
    Style,
    balanced_columns,
    house_style,
    index_ticks,
    remove_unused,
    shorten,
    write_above,
)
from glassbox.plots.word_labels import replace_missing_glyphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

COLORS = "RdBu_r"
NORM_COLOR, INTERFERENCE_COLOR = "#5b7f95", "#E69F00"
BIAS, STRIP, GAP = 0.11, 0.42, 0.3  # inches: widths beside a matrix, and between models
MAX_WIDTH, MIN_SIDE, MAX_SIDE = 13.2, 1.5, 2.6  # inches: the figure, a matrix's side
ABOVE, FOOT = 0.42, 0.6  # inches above a matrix, and for the color scale
MAX_NEAREST = 150  # features; more rows than pixels are averaged


def gram_matrix(
    weights: ArrayLike,
    biases: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    pairs: str = "",
    title: str = "",
) -> Figure:
    """Draw W Wᵀ (N, N), the paper's WᵀW, of every model, with the features' norms and interference.

    After the matrices of Toy Models. Row i shows what each feature adds to output i: ‖W_i‖² on the
    diagonal, and interference beside it. One diverging color scale, centered at 0, holds for all
    matrices and biases. Bars beside a row give its feature's norm and Σ_{j≠i} (Ŵ_i·W_j)², on scales
    that are the same in all panels. The interference of a feature whose norm is below half of its
    model's largest is pale: a feature without a norm still has a direction, often a crowded one.

    Args:
        weights: (N, H) or (S, N, H), row i the direction of feature i.
        biases: (N,) or (S, N), drawn as a column beside the matrix; None leaves it out.
        names: S texts above the panels, such as "1−S = 0.1".
        pairs: What the pairs of features 2k and 2k + 1 are, such as "correlated: active together".
            They are listed with it above, and framed in every matrix; empty draws none.
        title: Figure title.

    Raises:
        ValueError: Shapes do not fit.
    """
    from matplotlib import rc_context

    members = as_members(weights, names)
    offsets = None if biases is None else as_biases(biases, members)
    count, size, _ = members.weights.shape
    with np.errstate(invalid="ignore"):
        products = members.weights @ members.weights.swapaxes(1, 2)  # (S, N, N)
        norms = np.linalg.norm(members.weights, axis=2)  # (S, N)
    interference = interference_of(members.weights)
    weak = norms < 0.5 * norms.max(axis=1, keepdims=True)  # (S, N), false where nan
    fixed = GAP + 0.2 + 2 * STRIP + (0.0 if offsets is None else BIAS)
    columns = balanced_columns(count, int(MAX_WIDTH / (MIN_SIDE + fixed)))
    rows = -(-count // columns)
    side = float(np.clip(11.0 / columns - fixed, MIN_SIDE, MAX_SIDE))
    notes = [
        "row i: what each feature adds to output i",
        f"bars: norm to {_largest(norms):.2g}, interference Σ(Ŵ_i·W_j)² to "
        f"{_largest(interference):.2g} (pale: of a norm below half of the model's largest)",
    ]
    if pairs:
        notes.insert(0, f"frames: partners {_list_pairs(size)}, {pairs}")
    scale = _scale(products, offsets)
    ratios = [side, *([] if offsets is None else [BIAS]), STRIP, STRIP, GAP]
    with rc_context(house_style(box=True)):
        width = max(2 * LEFT + columns * (side + fixed + 0.15), 4.6)
        figure = titled_figure(width, rows * (side + ABOVE), title, notes, foot=FOOT, gap=0.025)
        panels = figure.subplots(
            rows, columns * len(ratios), squeeze=False, width_ratios=ratios * columns
        ).reshape(rows * columns, len(ratios))
        remove_unused(panels, count * len(ratios))
        for index, (matrix, *beside, spacer) in enumerate(panels[:count]):
            spacer.set_axis_off()
            _draw_image(matrix, products[index], scale)
            matrix.set_yticks(index_ticks(size, 6))
            matrix.set_xticks([])
            matrix.tick_params(length=2, pad=1.5, labelsize=NOTE_SIZE - 1)
            if pairs:
                _frame_pairs(matrix, size)
            name = replace_missing_glyphs(members.names[index], " ")
            name = shorten(name, side, LABEL_SIZE) if members.names[index] else ""
            write_above(matrix, name, size=LABEL_SIZE, color=TEXT_COLOR, bold=True)
            if offsets is not None:
                column = beside.pop(0)
                _draw_image(column, offsets[index][:, None], scale)
                column.set(xticks=[], yticks=[])
                write_above(column, "b", align="center")
            for axes, values, color, text, pale in (
                (beside[0], norms, NORM_COLOR, "norm", np.zeros(size, dtype=bool)),
                (beside[1], interference, INTERFERENCE_COLOR, "interf.", weak[index]),
            ):
                _draw_bars(axes, values[index], color, _largest(values), pale)
                write_above(axes, text)
        high = float(scale.vmax or 1.0)
        ticks = {-high: f"−{high:.2g}", 0.0: "0", high: f"{high:.2g}"}
        label = "WᵀW" if offsets is None else "WᵀW and biases b"
        draw_color_scale(figure, scale, COLORS, ticks, label)
    return figure


def _largest(values: Floats) -> float:
    """The largest finite value, and 1 where there is none above 0."""
    high = float(values[np.isfinite(values)].max(initial=0.0))
    return high if high > 0 else 1.0


def _scale(products: Floats, biases: Floats | None) -> Normalize:
    from matplotlib.colors import Normalize

    values = products.ravel() if biases is None else np.append(products, biases)
    high = _largest(np.abs(values))
    return Normalize(-high, high)


def _draw_image(axes: Axes, values: Floats, scale: Normalize) -> None:
    from matplotlib import colormaps

    axes.imshow(
        np.ma.masked_invalid(values),
        cmap=colormaps[COLORS].with_extremes(bad=MISSING),
        norm=scale,
        aspect="auto",
        interpolation="nearest" if len(values) <= MAX_NEAREST else "antialiased",
    )
    if not np.isfinite(values).all() and values.shape[1] > 1:
        center: Style = {"ha": "center", "va": "center", "size": NOTE_SIZE}
        axes.text(0.5, 0.5, "not finite", transform=axes.transAxes, **center)


def _list_pairs(size: int) -> str:
    """0–1, 2–3, … of features 0 to `size` - 1."""
    pairs = [f"{first}–{first + 1}" for first in range(0, size - 1, 2)]
    return ", ".join(pairs if len(pairs) <= 4 else [*pairs[:2], "…", pairs[-1]])


def _frame_pairs(axes: Axes, size: int) -> None:
    """Frame the four entries of each pair of features 2k and 2k + 1."""
    from matplotlib.patches import Rectangle

    style: Style = {"fill": False, "edgecolor": TEXT_COLOR, "linewidth": 1.4, "zorder": 3}
    for first in range(0, size - 1, 2):
        axes.add_patch(Rectangle((first - 0.5, first - 0.5), 2, 2, clip_on=False, **style))


def _draw_bars(
    axes: Axes, values: Floats, color: str, high: float, pale: NDArray[np.bool_]
) -> None:
    size = len(values)
    shown = np.where(np.isfinite(values), values, 0.0)
    thickness = 0.74 if size <= 60 else 1.0  # gaps between many bars would only blur
    bars = axes.barh(np.arange(size), shown, height=thickness, color=color, linewidth=0)
    for index in np.flatnonzero(pale).tolist():
        bars[index].set_alpha(0.28)
    axes.set(xlim=(0, high), ylim=(size - 0.5, -0.5), xticks=[], yticks=[])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
