"""Interference between the words of one text, and the polysemanticity of each, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.colors import MISSING
from glassbox.plots.figure_title import layout_title
from glassbox.plots.interference_colors import (
    COLORS,
    Scale,
    as_interference,
    color_norm,
    draw_scale,
    normalize,
)
from glassbox.plots.style import (
    LABEL_SIZE,
    MUTED_COLOR,
    NOTE_SIZE,
    POINTS_PER_INCH,
    TICK_SIZE,
    house_style,
    new_figure,
    place_axes,
)
from glassbox.plots.word_labels import (
    IMPORTANT,
    ORDINARY,
    Words,
    fit_word,
    prepare_words,
    text_width,
    word_font,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

DIAGONAL = "#e6e9eb"
STRIP, ABOVE_PANEL = 0.55, 0.42  # inches: the column of polysemanticities, a layer's name
WIDEST = 12.0  # inches that panels side by side may take


def word_heatmap(
    interference: Mapping[str, ArrayLike],
    words: Sequence[str],
    *,
    polysemanticity: Mapping[str, ArrayLike] | None = None,
    scale: Scale = "cosine",
    important: ArrayLike | None = None,
    important_name: str = "important: top 30 % by VMASK",
    title: str = "",
) -> Figure:
    """Draw the interference of every pair of words, a panel a layer, all on one color scale.

    After Figures 2(c) and 6 of the SAFR paper. Interference I_ij = (h_i·h_j)² (equation 1) grows
    with the fourth power of the activations, so it differs between layers by orders of magnitude.
    By default it is divided by ‖h_i‖² ‖h_j‖², which leaves cosine², comparable across layers; the
    color goes by the square root, so that a cosine of 0.2 can be seen. The diagonal, a word with
    itself, is left out. Beside each panel stands the polysemanticity P_i = Σ_{j≠i} (ĥ_i·h_j)²
    (equation 2) as a bar for each word, on the layer's own scale.

    Args:
        interference: By the layers' names, (T, T) symmetric, not negative, with ‖h_i‖⁴ on the
            diagonal.
        words: T words of the text, in order; the first 60 are drawn.
        polysemanticity: By the same names, (T,), not negative; None leaves the bars out.
        scale: "cosine", or "log" for the values as they are on a logarithmic scale of at most
            four decades below the largest one.
        important: (T,) bool, which words are marked.
        important_name: What the marks mean, for the notes.
        title: Of the figure.

    Raises:
        ValueError: There is no layer or no word, shapes or layers differ, the scale is unknown, or
            a value is negative, asymmetric or larger than the diagonal allows.
    """
    from matplotlib import rc_context

    if not interference:
        raise ValueError("there is no layer to draw.")
    if scale not in ("cosine", "log"):
        raise ValueError(f"scale is cosine or log, not {scale!r}.")
    bars = {} if polysemanticity is None else polysemanticity
    if polysemanticity is not None and set(bars) != set(interference):
        raise ValueError(
            f"polysemanticity has the layers {', '.join(bars)}, interference has "
            f"{', '.join(interference)}: they must be the same."
        )
    size = len(words)
    shown = prepare_words(words, important)
    count = len(shown.texts)
    values, strips = {}, {}
    for name, given in interference.items():
        whole = as_interference(given, name, size)
        values[name] = (normalize(whole, name) if scale == "cosine" else whole)[:count, :count]
        if name in bars:
            strip = as_floats(bars[name], f"polysemanticity of {name}", (size,), "(words,)")
            if (strip < 0).any():
                raise ValueError(f"polysemanticity of {name} is negative for a word.")
            strips[name] = strip[:count]

    cell = float(np.clip(2.4 / count, 0.105, 0.24))  # inches
    font = min(TICK_SIZE, 0.84 * cell * POINTS_PER_INCH)
    texts = [
        fit_word(text, font, bold=bool(bold))
        for text, bold in zip(shown.texts, shown.important, strict=True)
    ]
    margin = max(text_width(text, font, bold=True) for text in texts) / POINTS_PER_INCH + 0.12
    panel = cell * count
    block = panel + (STRIP + 0.08 if strips else 0.0) + 0.24
    columns = min(len(values), max(1, int((WIDEST - margin) / block)))
    columns = -(-len(values) // -(-len(values) // columns))  # rows of about the same length
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
    height = heading.height + rows * (ABOVE_PANEL + panel) + (rows - 1) * 0.1 + foot
    norm = color_norm(list(values.values()), scale)
    cut = any((array[off] < (norm.vmin or 0.0)).any() for array in values.values())
    with rc_context(house_style(box=True) | {"text.parse_math": False}):
        figure = new_figure(width, height)
        heading.draw(figure, 0.15)
        for index, (name, array) in enumerate(values.items()):
            row, column = divmod(index, columns)
            x = left + column * block
            top = heading.height + row * (ABOVE_PANEL + panel + 0.1) + ABOVE_PANEL
            box = {"bottom": height - top - panel, "top": top}
            axes = place_axes(figure, left=x, right=width - x - panel, **box)
            _draw_panel(axes, array, norm)
            _head(axes, name, bold=True)
            if column == 0:
                _write_words(axes, texts, shown, font, upright=False)
            if index + columns >= len(values):
                _write_words(axes, texts, shown, font, upright=True)
            if name in strips:
                start = x + panel + 0.08
                beside = place_axes(figure, left=start, right=width - start - STRIP, **box)
                _draw_strip(beside, strips[name], shown)
        draw_scale(figure, norm, scale, cut=cut, left=left)
    return figure


def _draw_panel(axes: Axes, values: Floats, norm: Normalize) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    own = np.eye(len(values), dtype=bool)
    # Pairs that do not interfere at all stand at the lower end, also of a logarithmic scale.
    shown = np.where(np.isfinite(values), np.maximum(values, norm.vmin or 0.0), np.nan)
    colors = colormaps[COLORS].with_extremes(bad=MISSING)
    masked = np.ma.masked_where(~np.isfinite(shown) | own, shown)
    axes.imshow(masked, cmap=colors, norm=norm, interpolation="nearest", aspect="auto")
    axes.imshow(
        np.ma.masked_where(~own, own.astype(np.float64)),
        cmap=ListedColormap([DIAGONAL]),
        interpolation="nearest",
        aspect="auto",
    )
    axes.set(xticks=[], yticks=[])


def _head(axes: Axes, text: str, *, bold: bool) -> None:
    axes.annotate(
        text,
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 5),
        textcoords="offset points",
        va="baseline",
        annotation_clip=False,
        weight="bold" if bold else "normal",
        size=LABEL_SIZE if bold else NOTE_SIZE - 0.5,
        color=None if bold else MUTED_COLOR,
    )


def _write_words(axes: Axes, texts: list[str], shown: Words, size: float, *, upright: bool) -> None:
    """The words at the left of the rows, or upright below the columns."""
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
    """Polysemanticity as a bar for each row of the panel at the left, from 0."""
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
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    _head(axes, f"P 0–{_round(top)}" if top > 0 else f"P {top:g}", bold=False)


def _round(value: float) -> str:
    """Two digits that count: 0.012, 3.4, 1,400, 7.4e+06."""
    whole = 100 <= value < 1e6
    return f"{float(f'{value:.2g}'):,.0f}" if whole else f"{value:.2g}"
