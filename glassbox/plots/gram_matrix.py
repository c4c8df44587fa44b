"""WᵀW and the biases: what each feature's output hears of every feature, itself included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.arrays import Floats
from glassbox.plots.colors import MISSING
from glassbox.plots.feature_arrays import as_biases, as_members, interference_of
from glassbox.plots.figure_title import layout_title
from glassbox.plots.style import (
    LABEL_SIZE,
    MUTED_COLOR,
    NOTE_SIZE,
    TEXT_COLOR,
    house_style,
    new_figure,
    place_axes,
    shorten,
)
from glassbox.plots.word_labels import replace_missing_glyphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

COLORS = "RdBu_r"
NORM_COLOR, INTERFERENCE_COLOR = "#5b7f95", "#E69F00"
MARGIN, AXIS, CAPTION, FOOT = 0.15, 0.24, 0.46, 0.66  # inches
BIAS, STRIP, SPACE, GAP = 0.11, 0.42, 0.05, 0.22  # inches
WIDEST, SMALLEST, LARGEST = 13.2, 1.5, 2.6  # inches: the figure, a matrix's side


def gram_matrix(
    weights: ArrayLike,
    biases: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    shared_scale: bool = True,
    pairs: str = "",
    title: str = "",
) -> Figure:
    """Draw W Wᵀ (N, N), the paper's WᵀW, of every model, with the features' norms and interference.

    After the matrices of Toy Models. Row i shows what is added to output i by each feature: its own
    share ‖W_i‖² on the diagonal, and what others interfere with beside it. One diverging color
    scale, centerd at 0, holds for all matrices and biases. Bars beside a row give its feature's
    norm and Σ_{j≠i} (Ŵ_i·W_j)², on scales that are the same in all panels. A feature without a norm
    to speak of still has a direction, and often one full of others: its interference is pale.

    Args:
        weights: (N, H) or (S, N, H), row i the direction of feature i.
        biases: (N,) or (S, N), drawn as a column beside the matrix; None leaves it out.
        names: S texts above the panels, such as "1−S = 0.1".
        shared_scale: If not, each model's colors go to its own largest value, which is written
            above it: for models whose weights differ in size, as rings' of different scales do.
        pairs: What the pairs of features 2k and 2k + 1 are, such as "correlated: active together".
            They are listed with it above, and framed in every matrix; empty draws none.
        title: Of the figure.

    Raises:
        ValueError: Shapes do not fit.
    """
    from matplotlib import rc_context

    members = as_members(weights, names)
    offsets = None if biases is None else as_biases(biases, members)
    count, size, _ = members.weights.shape
    with np.errstate(invalid="ignore"):
        products = members.weights @ members.weights.swapaxes(1, 2)  # (S, N, N)
        norms = np.linalg.norm(members.weights, axis=2)
    interference = interference_of(members.weights)
    column = 0.0 if offsets is None else SPACE + BIAS
    fixed = AXIS + column + 2 * (SPACE + STRIP) + GAP
    columns = min(count, max(1, int((WIDEST - 2 * MARGIN) / (SMALLEST + fixed))))
    columns = -(-count // -(-count // columns))  # rows of about the same length
    side = float(np.clip((11.0 - 2 * MARGIN) / columns - fixed, SMALLEST, LARGEST))
    rows = -(-count // columns)
    width = max(2 * MARGIN + columns * (side + fixed) - GAP, 4.6)
    notes = [
        "row i: what each feature adds to output i",
        f"bars: norm to {_top(norms):.2g}, interference Σ(Ŵ_i·W_j)² to {_top(interference):.2g} "
        "(pale: of a norm below half of the model's largest)",
    ]
    if pairs:
        notes.insert(0, f"frames: partners {_list_pairs(size)}, {pairs}")
    heading = layout_title(title, notes, width - 2 * MARGIN)
    height = heading.height + rows * (CAPTION + side) + FOOT
    shared = _scale(products, offsets)
    scales = [
        shared if shared_scale else _scale(products[i], None if offsets is None else offsets[i])
        for i in range(count)
    ]
    weak = norms < 0.5 * norms.max(axis=1, keepdims=True)  # (S, N), false where nan
    with rc_context(house_style(box=True)):
        figure = new_figure(width, height)
        heading.draw(figure, MARGIN)
        for index in range(count):
            row, place = divmod(index, columns)
            x = MARGIN + place * (side + fixed) + AXIS
            top = heading.height + row * (CAPTION + side) + CAPTION
            box = {"top": top, "bottom": height - top - side}
            matrix = place_axes(figure, left=x, right=width - x - side, **box)
            _draw_image(matrix, products[index], scales[index])
            _number(matrix, size)
            if pairs:
                _frame_pairs(matrix, size)
            _name(matrix, members.names[index], side)
            if not shared_scale:
                _head(matrix, f"±{scales[index].vmax:.2g}", "right")
            x += side + SPACE
            if offsets is not None:
                axes = place_axes(figure, left=x, right=width - x - BIAS, **box)
                _draw_image(axes, offsets[index][:, None], scales[index])
                axes.set(xticks=[], yticks=[])
                _head(axes, "b", "center")
                x += BIAS + SPACE
            for values, color, text, pale in (
                (norms, NORM_COLOR, "norm", np.zeros(size, dtype=bool)),
                (interference, INTERFERENCE_COLOR, "interf.", weak[index]),
            ):
                axes = place_axes(figure, left=x, right=width - x - STRIP, **box)
                _draw_bars(axes, values[index], color, _top(values), pale)
                _head(axes, text, "left")
                x += STRIP + SPACE
        name = "WᵀW" if offsets is None else "WᵀW and biases b"
        _draw_scale(figure, shared, name, left=MARGIN + AXIS, numbers=shared_scale)
    return figure


def _top(values: Floats) -> float:
    """The largest finite value, and 1 where there is none above 0."""
    finite = values[np.isfinite(values)]
    high = float(finite.max()) if len(finite) else 0.0
    return high if high > 0 else 1.0


def _scale(products: Floats, biases: Floats | None) -> Normalize:
    from matplotlib.colors import Normalize

    high = max(_top(np.abs(products)), 0.0 if biases is None else _top(np.abs(biases)))
    if not np.abs(products[np.isfinite(products)]).any():
        high = 1.0 if biases is None else _top(np.abs(biases))
    return Normalize(-high, high)


def _draw_image(axes: Axes, values: Floats, scale: Normalize) -> None:
    from matplotlib import colormaps

    axes.imshow(
        np.ma.masked_invalid(values),
        cmap=colormaps[COLORS].with_extremes(bad=MISSING),
        norm=scale,
        aspect="auto",
        # More rows than pixels: the mean of those that share one, not whichever comes first.
        interpolation="nearest" if len(values) <= 150 else "antialiased",
    )
    if not np.isfinite(values).all() and values.shape[1] > 1:
        axes.text(
            0.5,
            0.5,
            "not finite",
            transform=axes.transAxes,
            ha="center",
            va="center",
            size=NOTE_SIZE,
        )


def _number(axes: Axes, size: int) -> None:
    """A few feature numbers at the rows; columns have the same."""
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**9) if size <= 6 * s)
    axes.set_yticks(range(0, size, step))
    axes.set_xticks([])
    axes.tick_params(length=2, pad=1.5, labelsize=NOTE_SIZE - 1)


def _list_pairs(size: int) -> str:
    """0–1, 2–3, … of features 0 to `size` - 1."""
    found = [f"{first}–{first + 1}" for first in range(0, size - 1, 2)]
    return ", ".join(found if len(found) <= 4 else [*found[:2], "…", found[-1]])


def _frame_pairs(axes: Axes, size: int) -> None:
    """A frame round the four entries of each pair of features 2k and 2k + 1."""
    from matplotlib.patches import Rectangle

    for first in range(0, size - 1, 2):
        axes.add_patch(
            Rectangle(
                (first - 0.5, first - 0.5), 2, 2, fill=False, edgecolor=TEXT_COLOR, linewidth=1.4,
                zorder=3, clip_on=False,
            )
        )  # fmt: skip


def _name(axes: Axes, text: str, side: float) -> None:
    if text:
        axes.annotate(
            shorten(replace_missing_glyphs(text, " "), side, LABEL_SIZE),
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 5),
            textcoords="offset points",
            weight="bold",
            size=LABEL_SIZE,
            annotation_clip=False,
            parse_math=False,
        )


def _head(axes: Axes, text: str, align: Literal["left", "center", "right"]) -> None:
    axes.annotate(
        text,
        ({"left": 0.0, "center": 0.5, "right": 1.0}[align], 1),
        xycoords="axes fraction",
        xytext=(0, 5),
        textcoords="offset points",
        ha=align,
        size=NOTE_SIZE - 0.5,
        color=MUTED_COLOR,
        annotation_clip=False,
    )


def _draw_bars(
    axes: Axes, values: Floats, color: str, high: float, pale: NDArray[np.bool_]
) -> None:
    size = len(values)
    shown = np.where(np.isfinite(values), values, 0.0)
    thickness = 0.74 if size <= 60 else 1.0  # gaps of many bars would only blur
    bars = axes.barh(np.arange(size), shown, height=thickness, color=color, linewidth=0)
    for index in np.flatnonzero(pale).tolist():
        bars[index].set_alpha(0.28)
    axes.set_xlim(0, high)
    axes.set_ylim(size - 0.5, -0.5)
    axes.set(xticks=[], yticks=[])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def _draw_scale(figure: Figure, scale: Normalize, name: str, *, left: float, numbers: bool) -> None:
    from matplotlib.cm import ScalarMappable

    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, 0.4 / height, 2.2 / width, 0.09 / height))
    bar = figure.colorbar(ScalarMappable(scale, COLORS), cax=axes, orientation="horizontal")
    bar.outline.set_visible(False)
    high = float(scale.vmax or 1.0)
    labels = [f"−{high:.2g}", "0", f"{high:.2g}"] if numbers else ["−", "0", "+"]
    bar.set_ticks([-high, 0, high], labels=labels)
    axes.set_xlabel(name if numbers else f"{name}, to the value above each panel", size=NOTE_SIZE)
    axes.tick_params(labelsize=NOTE_SIZE - 0.5, length=2)
