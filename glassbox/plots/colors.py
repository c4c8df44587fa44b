"""Colors of points and of models, safe for the common kinds of color blindness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.style import NOTE_SIZE

if TYPE_CHECKING:
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

GroupKind = Literal["cyclic", "sequential", "categorical"]

# The hues of Okabe and Ito (2008) with a darker yellow, for white paper, and five more for up to
# twelve groups (the cosets of a two-element subgroup of S4).
CATEGORIES = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"),
    *("#B5A642", "#5B4A9E", "#8C6D46", "#7A7A7A", "#12355B", "#A8D5BA"),
)
MISSING = "#c9c9c9"
POINT = "#2A6F9E"  # points without a group

STANDARD, HARMONIC = "#0072B2", "#D55E00"  # Figures 1 and 6 of the paper: blue and orange
TRAIN, TEST = "#0072B2", "#D55E00"
# Figure 3 of the paper draws green, red, yellow and blue; these are the same hues in shades that
# readers with red-green color blindness can distinguish.
MODELS = {
    "standard mlp": "#009E73",
    "harmonic mlp": "#D55E00",
    "standard transformer": "#E69F00",
    "harmonic transformer": "#0072B2",
}
SHORT_NAMES = {
    "m": "standard mlp",
    "hm": "harmonic mlp",
    "t": "standard transformer",
    "ht": "harmonic transformer",
}


def draw_color_scale(
    figure: Figure,
    norm: Normalize,
    colors: str | Colormap,
    ticks: Mapping[float, str],
    label: str,
    *,
    left: float = 0.4,
    width: float = 2.2,
) -> None:
    """Draw a color scale at the foot of the figure, 0.6 inches high with its texts.

    Args:
        figure: Drawn into; what is above must leave the space.
        norm: From values to colors.
        colors: Color map, or its name.
        ticks: Texts by value.
        label: Below the scale.
        left: Inches from the figure's left edge.
        width: Inches.
    """
    from matplotlib.cm import ScalarMappable

    inches = figure.get_size_inches()
    axes = figure.add_axes(
        (left / inches[0], 0.42 / inches[1], width / inches[0], 0.09 / inches[1])
    )
    axes.set_in_layout(False)
    bar = figure.colorbar(ScalarMappable(norm, colors), cax=axes, orientation="horizontal")
    bar.outline.set_visible(False)
    bar.set_ticks(list(ticks), labels=list(ticks.values()))
    bar.minorticks_off()
    axes.set_xlabel(label, size=NOTE_SIZE)
    axes.tick_params(labelsize=NOTE_SIZE - 0.5, length=2)


def model_colors(names: Sequence[str]) -> list[str]:
    """One distinct color (hex) per model: the paper's if the name identifies one of its models."""
    wanted = [_paper_color(name) for name in names]
    spare = [color for color in CATEGORIES if color not in wanted] or list(CATEGORIES)
    colors: list[str] = []
    for color in wanted:
        if color is None or color in colors:
            color = spare[0]
            spare = [*spare[1:], color]
        colors.append(color)
    return colors


def _paper_color(name: str) -> str | None:
    text = name.lower().replace("-", " ").replace("_", " ").strip()
    text = SHORT_NAMES.get(text, text)
    harmonic = "harmonic" in text
    if not harmonic and not any(word in text for word in ("standard", "cross entropy", "baseline")):
        return None
    if "transformer" in text:
        return MODELS["harmonic transformer" if harmonic else "standard transformer"]
    if "mlp" in text:
        return MODELS["harmonic mlp" if harmonic else "standard mlp"]
    return HARMONIC if harmonic else STANDARD


def group_colors(groups: ArrayLike, kind: GroupKind) -> NDArray[np.float64]:
    """Colors (..., 4) in [0, 1] of group values (...); values that are not finite are gray.

    `cyclic` takes values in [0, period) with period = largest value + 1, `sequential` runs from the
    smallest to the largest value, `categorical` gives each distinct value a color of its own.
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba

    values = np.asarray(groups, dtype=np.float64)
    known = np.isfinite(values)
    colors = np.broadcast_to(np.array(to_rgba(MISSING)), (*values.shape, 4)).copy()
    if not known.any():
        return colors
    present = values[known]
    if kind == "cyclic":
        colors[known] = cyclic_colors(present / (present.max() + 1))
    elif kind == "sequential":
        extent = present.max() - present.min()
        position = (present - present.min()) / extent if extent > 0 else np.full(present.shape, 0.5)
        colors[known] = colormaps["viridis"](0.04 + 0.83 * position)  # yellow is too pale on white
    elif kind == "categorical":
        distinct, index = np.unique(present, return_inverse=True)
        if len(distinct) <= len(CATEGORIES):
            palette = np.array([to_rgba(color) for color in CATEGORIES])
            colors[known] = palette[index]
        else:
            colors[known] = cyclic_colors(index / len(distinct))
    else:
        raise ValueError(f"group_kind is cyclic, sequential or categorical, not {kind!r}.")
    return colors


def cyclic_colors(phase: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colors (..., 4) of a phase in [0, 1): a ring in OKLab, lighter on its yellow side.

    Equal steps of phase look like equal steps of hue, and the change of lightness keeps opposite
    phases apart where hue is not seen.
    """
    angle = 2 * np.pi * np.asarray(phase, dtype=np.float64)
    lightness = 0.65 + 0.13 * np.cos(angle - np.deg2rad(95))
    a, b = 0.115 * np.cos(angle), 0.115 * np.sin(angle)
    # OKLab to linear sRGB: the published matrices of Ottosson (2020).
    cones = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ],
        axis=-1,
    )
    matrix = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(cones**3 @ matrix.T, 0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.concatenate([np.clip(encoded, 0, 1), np.ones((*angle.shape, 1))], axis=-1)


def text_on(colors: NDArray[np.float64]) -> list[str]:
    """Black or white for text on each of the colors (P, 4), whichever has the higher contrast."""
    linear = ((colors[:, :3] + 0.055) / 1.055) ** 2.4
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return ["black" if value > 0.25 else "white" for value in luminance]
