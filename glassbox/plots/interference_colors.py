"""How interference becomes color: as cosine² or on a logarithmic scale, and the scale's key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.style import NOTE_SIZE

if TYPE_CHECKING:
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

Scale = Literal["cosine", "log"]

COLORS = "OrRd"
DECADES = 4  # at most, of the logarithmic scale
ROUNDING = 2e-2  # by which values of low precision may break the rules of interference


def normalize(interference: Floats, name: str) -> Floats:
    """Cosine² (T, T) from interference (T, T): I_ij / √(I_ii I_jj); nan where that is 0 / 0."""
    root = np.sqrt(np.diag(interference))
    divisor = root[:, None] * root[None]
    known = np.isfinite(interference) & np.isfinite(divisor) & (divisor > 0)
    result = np.full(interference.shape, np.nan)
    result[known] = interference[known] / divisor[known]
    if (result[known] > 1 + ROUNDING).any():
        raise ValueError(
            f"interference of {name} is larger than its diagonal allows: it needs (h_i·h_i)² there."
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


def color_norm(values: Sequence[Floats], scale: Scale) -> Normalize:
    """One color scale for all layers' panels (T, T), their diagonals left out."""
    from matplotlib.colors import LogNorm, PowerNorm

    if scale == "cosine":
        return PowerNorm(0.5, vmin=0.0, vmax=1.0, clip=True)
    off = [array[~np.eye(len(array), dtype=bool)] for array in values]
    found = np.concatenate(off)
    found = found[np.isfinite(found) & (found > 0)]
    high = float(found.max()) if len(found) else 1.0
    low = max(float(found.min()), high / 10**DECADES) if len(found) else 0.1
    return LogNorm(vmin=low if low < high else high / 10, vmax=high, clip=True)


def draw_scale(figure: Figure, norm: Normalize, scale: Scale, *, cut: bool, left: float) -> None:
    """Draw the key at the figure's foot; `cut` if values lie below a logarithmic scale."""
    from matplotlib.cm import ScalarMappable

    width, height = figure.get_size_inches()
    inches = min(3.0, width - left - 0.3)
    axes = figure.add_axes((left / width, 0.4 / height, inches / width, 0.09 / height))
    bar = figure.colorbar(ScalarMappable(norm, COLORS), cax=axes, orientation="horizontal")
    bar.outline.set_visible(False)
    if scale == "cosine":
        bar.set_ticks([0, 0.04, 0.16, 0.36, 0.64, 1], labels=["0", ".04", ".16", ".36", ".64", "1"])
        axes.set_xlabel("interference ÷ ‖h‖² ‖h′‖² = cosine², color by its root", size=NOTE_SIZE)
    else:
        below = ", palest: that or less" if cut else ""
        axes.set_xlabel(f"interference (h·h′)², logarithmic colors{below}", size=NOTE_SIZE)
    bar.minorticks_off()
    axes.tick_params(labelsize=NOTE_SIZE - 0.5, length=2)
