"""Accuracies of texts with deleted words: what a caller hands over, and lines with bands."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from callbacks.plots.arrays import Floats, as_floats, quartiles


class DeletionCurve(NamedTuple):
    """One model's accuracies in 0 to 1, each over the K shares of deleted words.

    Of S seeds or of one; nan where it was not measured.
    """

    highest: ArrayLike  # (K,) or (S, K): the words of highest capacity are deleted first
    lowest: ArrayLike | None = None  # (K,) or (S, K)
    random: ArrayLike | None = None  # (R, K) or (S, R, K), R draws


class Band(NamedTuple):
    """A line and the limits of its band."""

    middle: Floats  # (K,)
    low: Floats  # (K,)
    high: Floats  # (K,)


def check_shares(percent: ArrayLike) -> Floats:
    """The shares of deleted words in percent, (K,), after a check that they can be an axis."""
    shares = as_floats(percent, "percent", (None,), "(shares,)")
    if not (np.isfinite(shares).all() and (np.diff(shares) > 0).all()):
        raise ValueError("percent must be finite and increasing.")
    if shares[0] < 0 or shares[-1] > 100:
        raise ValueError(
            f"percent goes from {shares[0]:g} to {shares[-1]:g}, expected shares from 0 to 100."
        )
    return shares


def read_curve(name: str, model: DeletionCurve, size: int) -> list[Floats | None]:
    """Accuracies (S, K) by highest and lowest score, and (S, R, K) of random words between."""
    highest = _seeds(model.highest, f"highest of {name}", size, None)
    lowest = random = None
    if model.lowest is not None:
        lowest = _seeds(model.lowest, f"lowest of {name}", size, len(highest))
    if model.random is not None:
        array = np.asarray(model.random, dtype=np.float64)
        array = array[None] if array.ndim == 2 else array
        random = as_floats(
            array, f"random of {name}", (len(highest), None, size), "(seeds, draws, shares)"
        )
    found = [highest, random, lowest]
    for order, values in zip(("highest", "random", "lowest"), found, strict=True):
        if values is not None and ((values < 0) | (values > 1)).any():
            raise ValueError(f"{order} of {name} has accuracies outside of 0 to 1.")
    return found


def _seeds(values: ArrayLike, name: str, size: int, seeds: int | None) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    array = array[None] if array.ndim == 1 else array
    return as_floats(array, name, (seeds, size), "(seeds, shares)")


def make_band(values: Floats | None) -> Band | None:
    """Median and quartiles over seeds; of one seed's draws their mean and range."""
    if values is None:
        return None
    if values.ndim == 3:
        finite = np.isfinite(values)
        if len(values) == 1:
            low = np.where(finite, values, np.inf).min(axis=(0, 1))
            high = np.where(finite, values, -np.inf).max(axis=(0, 1))
        total = np.where(finite, values, 0.0).sum(axis=1)
        count = finite.sum(axis=1)
        means = np.where(count > 0, total / np.maximum(count, 1), np.nan)  # (S, K)
        if len(values) == 1:
            known = np.isfinite(means[0])
            return Band(means[0], np.where(known, low, np.nan), np.where(known, high, np.nan))
        values = means
    lower, median, upper = quartiles(values)
    return Band(median, lower, upper)
