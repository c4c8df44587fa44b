"""Interference between words as cosine², its colors, and their scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.colors import draw_color_scale

if TYPE_CHECKING:
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

COLORS = "OrRd"
ROUNDING = 2e-2  # tolerance for values of low precision
TICKS = {0.0: "0", 0.04: ".04", 0.16: ".16", 0.36: ".36", 0.64: ".64", 1.0: "1"}


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


def color_norm() -> Normalize:
    """From cosine² to colors by its square root, which keeps a cosine of 0.2 visible."""
    from matplotlib.colors import PowerNorm

    return PowerNorm(0.5, vmin=0.0, vmax=1.0, clip=True)


def draw_scale(figure: Figure, norm: Normalize, *, left: float) -> None:
    """Draw the color scale at the figure's foot, `left` inches from its edge."""
    width = min(3.0, float(figure.get_figwidth()) - left - 0.3)
    label = "interference ÷ ‖h‖² ‖h′‖² = cosine², color by its root"
    draw_color_scale(figure, norm, COLORS, TICKS, label, left=left, width=width)
