"""Exact rank-sum test: do two groups of seeds differ by more than chance?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

SIGNIFICANT = 0.05  # p below which two groups differ
MAX_EXACT = 120  # values; above, the normal approximation is as good


def rank_difference_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p-value of the rank-sum test of Mann and Whitney (1947), with ties and infinities.

    The fraction of all divisions of the values into groups of these sizes whose rank sum is at
    least as far from its mean. Exact up to 120 values; above, the normal approximation with
    corrections for ties and continuity.

    Args:
        first: One number per seed, at least one; inf stands for never.
        second: Likewise.
    """
    values = np.concatenate([np.asarray(first, float), np.asarray(second, float)])
    ranks = _midranks(values)
    if len(values) > MAX_EXACT:
        return _normal_p(ranks, len(first))
    doubled = np.rint(2 * ranks).astype(int)  # midranks are halves
    sums = _rank_sums(doubled, len(first))
    distance = np.abs(np.arange(len(sums)) - len(first) * (len(values) + 1))
    extreme = distance >= distance[doubled[: len(first)].sum()]
    return float(sums[extreme].sum() / sums.sum())


def least_p(size: int, other: int) -> float:
    """Smallest p-value of two groups of these sizes: all of one beyond all of the other."""
    return min(1.0, 2 / math.comb(size + other, size))


def _normal_p(ranks: np.ndarray, size: int) -> float:
    """Normal approximation of the p-value of the first ``size`` ranks."""
    count, other = len(ranks), len(ranks) - size
    _, tied = np.unique(ranks, return_counts=True)
    ties = float((tied.astype(float) ** 3 - tied).sum()) / (count * (count - 1))
    deviation = math.sqrt(size * other / 12 * (count + 1 - ties))
    distance = abs(float(ranks[:size].sum()) - size * (count + 1) / 2)
    return math.erfc(max(0.0, distance - 0.5) / (deviation * math.sqrt(2))) if deviation else 1.0


def _rank_sums(ranks: np.ndarray, size: int) -> np.ndarray:
    """Number of ways to choose ``size`` of the ranks with each sum, from 0 on."""
    # The sum of the largest ranks bounds the sum of any choice.
    choices = np.zeros((size + 1, np.sort(ranks)[-size:].sum() + 1))
    choices[0, 0] = 1
    for rank in ranks:
        # The right-hand side is copied first, so that every rank is used at most once.
        choices[1:, rank:] += choices[:-1, : choices.shape[1] - rank].copy()
    return choices[size]


def _midranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[group]
