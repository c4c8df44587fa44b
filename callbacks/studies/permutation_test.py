"""Whether two groups of seeds differ by more than chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# A difference of ranks that chance alone brings about less often than this counts as clear.
CLEAR = 0.05
_DRAWS = 10_000


def rank_difference_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p of the rank sums of two groups, by exchanging their members at random.

    The test of Mann and Whitney (1947) with ties and infinities, without a distribution being
    assumed: the share of 10,000 random divisions of all values whose rank sum lies as far from its
    mean as the real one. The draws are always the same, so that a report repeats to the byte.

    Args:
        first: One number per seed; inf stands for never.
        second: Likewise; at least one in each.

    Returns:
        p, at least 1/10,001.
    """
    values = np.concatenate([np.asarray(first, float), np.asarray(second, float)])
    ranks = _midranks(values)
    size, mean = len(first), len(first) * (len(values) + 1) / 2
    orders = np.random.default_rng(0).random((_DRAWS, len(values))).argsort(axis=1)
    sums = ranks[orders[:, :size]].sum(axis=1)  # (draws,)
    # In binary sums of ranks are exact, halves included.
    extreme = np.abs(sums - mean) >= abs(ranks[:size].sum() - mean)
    return float((1 + extreme.sum()) / (1 + _DRAWS))


def _midranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[group]
