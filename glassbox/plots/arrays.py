"""Checks and statistics of the arrays that the plots are given."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def as_floats(values: ArrayLike, name: str, shape: tuple[int | None, ...], axes: str) -> Floats:
    """The values as float64, after a check of their shape (None = any size but zero).

    `axes` tells the reader of the error what the axes mean, as in "(seeds, epochs)".
    """
    array = np.asarray(values, dtype=np.float64)
    fits = array.ndim == len(shape) and all(
        have == want if want is not None else have > 0
        for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} has shape {array.shape}, expected {axes} = ({sizes}).")
    return array


def finite_rows(points: Floats) -> NDArray[np.bool_]:
    """Which of the points (..., D) have no nan and no infinity, (...)."""
    return np.asarray(np.isfinite(points).all(axis=-1))


def quartiles(values: Floats) -> Floats:
    """Lower quartile, median, upper quartile (3, N) over the seeds of values (S, N).

    Seeds that are nan somewhere are left out there; a column without any finite value is nan.
    """
    values = np.where(np.isfinite(values), values, np.nan)
    result = np.full((3, values.shape[1]), np.nan)
    filled = np.isfinite(values).any(axis=0)
    whole = np.isfinite(values).all(axis=0)
    quantiles = [0.25, 0.5, 0.75]
    if whole.any():  # np.nanquantile loops over columns in Python: keep it for where it is needed
        result[:, whole] = np.quantile(values[:, whole], quantiles, axis=0)
    holes = filled & ~whole
    if holes.any():
        result[:, holes] = np.nanquantile(values[:, holes], quantiles, axis=0)
    return result


def censored_median(epochs: Floats) -> float:
    """Median epoch over runs where nan means never: infinite once half of the runs never did."""
    return float(np.median(np.where(np.isfinite(epochs), epochs, np.inf)))


def seed_segments(x: Floats, y: Floats) -> list[Floats]:
    """One polyline (N, 2) a seed for a LineCollection, from x (N,) and y (S, N)."""
    return [np.column_stack([x, row]) for row in y]
