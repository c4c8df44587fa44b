"""Interference between the words of one text, and each word's polysemanticity, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.colors import MISSING, draw_color_scale
from glassbox.plots.figure_title import layout_title
from glassbox.plots.style import (
    LABEL_SIZE,
    MUTED_COLOR,
    POINTS_PER_INCH,
    TEXT_COLOR,
    TICK_SIZE,
    balanced_columns,
    house_style,
    new_figure,
    place_axes,
    write_above,
)
from glassbox.plots.word_labels import (
    IMPORTANT,
    ORDINARY,
    Words,
    prepare_words,
    text_width,
    word_font,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

COLORS, DIAGONAL = "OrRd", "#e6e9eb"
TICKS = {0.0: "0", 0.04: ".04", 0.16: ".16", 0.36: ".36", 0.64: ".64", 1.0: "1"}
ROUNDING = 2e-2  # tolerance for values of low precision
STRIP, ABOVE = 0.55, 0.42  # inches: the column of polysemanticities, a layer's name
MAX_WIDTH = 12.0  # inches of panels side by side


def word_heatmap(
    interference: Mapping[str, ArrayLike],
    words: Sequence[str],
    *,
    polysemanticity: Mapping[str, ArrayLike] | None = None,
    important: ArrayLike | None = None,
    important_name: str = "important: top 30 % by VMASK",
    title: str = "",
) -> Figure:
    """Draw the interference of every pair of words, one panel per layer, on one color scale.

    After Figures 2(c) and 6 of the SAFR paper. Interference I_ij = (h_i·h_j)² (equation 1) grows
    with the fourth power of the activations, so it differs between layers by orders of magnitude.
    It is divided by ‖h_i‖² ‖h_j‖², which leaves cosine², comparable across layers; colors follow
    its square root, so that a cosine of 0.2 is visible. The diagonal, a word with itself, is left
    out. Bars beside each panel show the polysemanticity P_i = Σ_{j≠i} (ĥ_i·h_j)² (equation 2) of
    each word, on the layer's own scale.

    Args:
        interference: By layer name, (T, T) symmetric, not negative, with ‖h_i‖⁴ on the
            diagonal.
        words: T words of the text, in order; the first 60 are drawn.
        polysemanticity: By the same names, (T,), not negative; None draws no bars.
        important: (T,) bool, which words are marked.
        important_name: What the marks mean, for the notes.
        title: Figure title.

    Raises:
        ValueError: There is no layer or no word, shapes or layers differ, or a value is negative,
            asymmetric or larger than the diagonal allows.
    """
    from matplotlib import rc_context
    from matplotlib.colors import PowerNorm

    if not interference:
        raise ValueError("interference is empty: there is no layer to draw.")
    bars = {} if polysemanticity is None else polysemanticity
    if polysemanticity is not None and set(bars) != set(interference):
        raise ValueError(
            f"polysemanticity has layers {list(bars)}, expected those of interference, "
            f"{list(interference)}."
        )
    size = len(words)
    shown = prepare_words(words, important)
    count = len(shown.texts)
    values, strips = {}, {}
    for name, given in interference.items():
        values[name] = normalize(as_interference(given, name, size), name)[:count, :count]
        if name in bars:
            strip = as_floats(bars[name], f"polysemanticity of {name}", (size,), "(words,)")
            if (strip < 0).any():
                raise ValueError(f"polysemanticity of {name} is negative for a word.")
            strips[name] = strip[:count]

    cell = float(np.clip(2.4 / count, 0.105, 0.24))  # inches
    font = min(TICK_SIZE, 0.84 * cell * POINTS_PER_INCH)
    texts = shown.fit(font)
    margin = max(text_width(text, font, bold=True) for text in texts) / POINTS_PER_INCH + 0.12
    panel = cell * count
    block = panel + (STRIP + 0.08 if strips else 0.0) + 0.24
    columns = balanced_columns(len(values), int((MAX_WIDTH - margin) / block))
    rows = -(-len(values) // columns)
    left = 0.15 + margin
    width = max(left + columns * block, 4.6)
    notes = [shown.note, "gray: a word with itself"]
    if strips:
        notes.append("bars: polysemanticity P")
    off = ~np.eye(count, dtype=bool)
    if any(not np.isfinite(array[off]).all() for array in values.values()):
        notes.append("dark gray: not defined (a zero vector or nan)")
    if shown.important.any():
        notes.append(f"bold, {important_name}")
    heading = layout_title(title, notes, width - 0.3)
    foot = margin + 0.62
    height = heading.height + rows * (ABOVE + panel) + (rows - 1) * 0.1 + foot
    norm = PowerNorm(0.5, vmin=0.0, vmax=1.0, clip=True)  # by |cosine|
    with rc_context(house_style(box=True) | {"text.parse_math": False}):
        figure = new_figure(width, height)
        heading.draw(figure, 0.15)
        for index, (name, array) in enumerate(values.items()):
            row, column = divmod(index, columns)
            x = left + column * block
            top = heading.height + row * (ABOVE + panel + 0.1) + ABOVE
            axes = place_axes(figure, x, top, panel, panel)
            _draw_panel(axes, array, norm)
            write_above(axes, name, size=LABEL_SIZE, color=TEXT_COLOR, bold=True)
            if column == 0:
                _write_words(axes, texts, shown, font, upright=False)
            if index + columns >= len(values):
                _write_words(axes, texts, shown, font, upright=True)
            if name in strips:
                beside = place_axes(figure, x + panel + 0.08, top, STRIP, panel)
                _draw_strip(beside, strips[name], shown)
        label = "interference ÷ ‖h‖² ‖h′‖² = cosine², color by its root"
        scale_width = min(3.0, width - left - 0.3)
        draw_color_scale(figure, norm, COLORS, TICKS, label, left=left, width=scale_width)
    return figure


def normalize(interference: Floats, name: str) -> Floats:
    """Cosine² (T, T) from interference (T, T): I_ij / √(I_ii I_jj); nan where that is 0 / 0."""
    root = np.sqrt(np.diag(interference))
    divisor = root[:, None] * root[None]
    known = np.isfinite(interference) & np.isfinite(divisor) & (divisor > 0)
    result = np.full(interference.shape, np.nan)
    result[known] = interference[known] / divisor[known]
    if (result[known] > 1 + ROUNDING).any():
        raise ValueError(
            f"interference of {name} exceeds its diagonal, which must hold (h_i·h_i)²."
        )
    return np.minimum(result, 1.0)


def as_interference(values: ArrayLike, name: str, size: int) -> Floats:
    """Interference (T, T) after a check that it is symmetric and not negative."""
    array = as_floats(values, f"interference of {name}", (size, size), "(words, words)")
    if (array < 0).any():
        raise ValueError(f"interference of {name} is negative for a pair of words.")
    both = np.isfinite(array) & np.isfinite(array.T)
    if (np.abs(array - array.T)[both] > ROUNDING * np.maximum(array, array.T)[both]).any():
        raise ValueError(f"interference of {name} is not symmetric.")
    return array


def _draw_panel(axes: Axes, values: Floats, norm: Normalize) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    own = np.eye(len(values), dtype=bool)
    colors = colormaps[COLORS].with_extremes(bad=MISSING)
    masked = np.ma.masked_where(~np.isfinite(values) | own, values)
    axes.imshow(masked, cmap=colors, norm=norm, interpolation="nearest", aspect="auto")
    axes.imshow(
        np.ma.masked_where(~own, own.astype(np.float64)),
        cmap=ListedColormap([DIAGONAL]),
        interpolation="nearest",
        aspect="auto",
    )
    axes.set(xticks=[], yticks=[])


def _write_words(axes: Axes, texts: list[str], shown: Words, size: float, *, upright: bool) -> None:
    """Write the words at the left of the rows, or upright below the columns."""
    for index, text in enumerate(texts):
        axes.annotate(
            text,
            (index, 0) if upright else (0, index),
            xycoords=("data", "axes fraction") if upright else ("axes fraction", "data"),
            xytext=(0, -4) if upright else (-4, 0),
            textcoords="offset points",
            rotation=90 if upright else 0,
            ha="center" if upright else "right",
            va="top" if upright else "center",
            size=size,
            annotation_clip=False,
            **word_font(bool(shown.important[index])),
        )


def _draw_strip(axes: Axes, values: Floats, shown: Words) -> None:
    """Draw polysemanticity as a bar from 0 for each row of the panel at the left."""
    finite = values[np.isfinite(values)]
    top = float(finite.max()) if len(finite) else np.nan
    high = top if top > 0 else 1.0
    places = np.arange(len(values))
    for marked, color in ((False, ORDINARY), (True, IMPORTANT)):
        chosen = np.isfinite(values) & (shown.important == marked)
        axes.barh(places[chosen], values[chosen], height=0.7, color=color, linewidth=0)
    missing = places[~np.isfinite(values)]
    axes.plot(
        np.full(len(missing), 0.06 * high),
        missing,
        linestyle="",
        marker="x",
        markersize=3,
        color=MUTED_COLOR,
    )
    axes.set_xlim(0, high)
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set(xticks=[], yticks=[])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    write_above(axes, f"P 0–{_round(top)}" if top > 0 else f"P {top:g}")


def _round(value: float) -> str:
    """Two significant digits: 0.012, 3.4, 1,400, 7.4e+06."""
    whole = 100 <= value < 1e6
    return f"{float(f'{value:.2g}'):,.0f}" if whole else f"{value:.2g}"
