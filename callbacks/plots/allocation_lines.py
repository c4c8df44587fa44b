"""Which words of a text a circle-and-line picture joins, and how strongly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from callbacks.plots.arrays import Floats

ROUNDING = 1e-2  # by which products of low precision may break the rules of inner products


class Lines(NamedTuple):
    """The lines of the picture, strongest last."""

    pairs: NDArray[np.int64]  # (L, 2)
    cosines: Floats  # (L,)


def cosines_of(products: Floats) -> Floats:
    """Cosines (T, T) of inner products (T, T); nan on the diagonal and where one is undefined."""
    norms = np.sqrt(np.maximum(np.diag(products), 0.0))
    scale = norms[:, None] * norms[None]
    known = np.isfinite(products) & np.isfinite(scale) & (scale > 0)
    cosines = np.full(products.shape, np.nan)
    cosines[known] = products[known] / scale[known]
    both = known & known.T
    if (np.diag(products) < 0).any():
        raise ValueError("products has a negative squared norm on its diagonal.")
    if (np.abs(cosines - cosines.T)[both] > ROUNDING).any():
        raise ValueError("products is not symmetric: inner products are needed, h_i·h_j.")
    if (np.abs(cosines[known]) > 1 + ROUNDING).any():
        raise ValueError(
            "products is larger than the norms on its diagonal allow: inner products are needed, "
            "h_i·h_j, not their squares."
        )
    np.fill_diagonal(cosines, np.nan)
    return np.clip(cosines, -1.0, 1.0)


def choose_lines(cosines: Floats, lines_per_word: int, limit: float) -> Lines:
    """The pairs that are among the strongest few of either word and reach the limit.

    cosines (T, T), nan where there is none; of equally strong pairs the earlier word's comes first.
    """
    strength = np.abs(np.nan_to_num(cosines))
    rank = np.argsort(np.argsort(-strength, axis=1, kind="stable"), axis=1, kind="stable")
    chosen = (rank < lines_per_word) & (strength >= limit) & np.isfinite(cosines)
    rows, columns = np.nonzero(np.triu(chosen | chosen.T, 1))
    order = np.argsort(strength[rows, columns], kind="stable")
    pairs = np.column_stack([rows, columns])[order]
    return Lines(pairs, cosines[pairs[:, 0], pairs[:, 1]])


def rank_correlation(one: Floats, two: Floats) -> float:
    """Spearman's, nan where one of the two (N,) does not vary."""
    import torch

    from glassbox.metrics._rank_correlation import spearman

    return float(spearman(torch.from_numpy(one).double(), torch.from_numpy(two).double()))
