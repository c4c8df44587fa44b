"""Whether two groups of seeds differ by more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# A difference of ranks that chance alone brings about less often than this counts as clear.
CLEAR = 0.05
# Up to so many values every division is counted; above, the normal distribution is as good.
_COUNTED = 120


def rank_difference_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p of the rank sums of two groups, by exchanging their members.

    The test of Mann and Whitney (1947) with ties and infinities: the share of all divisions of the
    values into two such groups whose rank sum lies as far from its mean as the real one. All of
    them count, so that a verdict near the limit does not hang on which were drawn; above 120 values
    it is the normal approximation, with corrections for ties and for sums being in steps.

    Args:
        first: One number per seed; inf stands for never.
        second: Likewise; at least one in each.
    """
    values = np.concatenate([np.asarray(first, float), np.asarray(second, float)])
    ranks = _midranks(values)
    if len(values) > _COUNTED:
        return _normal_p(ranks, len(first))
    doubled = np.rint(2 * ranks).astype(int)  # midranks are halves
    sums = _rank_sums(doubled, len(first))
    distance = np.abs(np.arange(len(sums)) - len(first) * (len(values) + 1))
    extreme = distance >= distance[doubled[: len(first)].sum()]
    return float(sums[extreme].sum() / sums.sum())


def least_p(size: int, other: int) -> float:
    """The smallest p that groups of so many seeds can have: one all beyond the other."""
    return min(1.0, 2 / math.comb(size + other, size))


def _normal_p(ranks: np.ndarray, size: int) -> float:
    """The p of the first ``size`` ranks by the normal distribution."""
    count, other = len(ranks), len(ranks) - size
    _, tied = np.unique(ranks, return_counts=True)
    ties = float((tied.astype(float) ** 3 - tied).sum()) / (count * (count - 1))
    deviation = math.sqrt(size * other / 12 * (count + 1 - ties))
    distance = abs(float(ranks[:size].sum()) - size * (count + 1) / 2)
    return math.erfc(max(0.0, distance - 0.5) / (deviation * math.sqrt(2))) if deviation else 1.0


def _rank_sums(ranks: np.ndarray, size: int) -> np.ndarray:
    """How many choices of ``size`` of the ranks have each sum, from 0 on."""
    # The largest ranks in the smaller group bound the sums that any choice can have.
    choices = np.zeros((size + 1, np.sort(ranks)[-size:].sum() + 1))
    choices[0, 0] = 1
    for rank in ranks:
        # The right side is formed first: every rank is taken at most once.
        choices[1:, rank:] += choices[:-1, : choices.shape[1] - rank].copy()
    return choices[size]


def _midranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[group]
