"""Checks and statistics of the arrays that plots take."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def as_floats(values: ArrayLike, name: str, shape: tuple[int | None, ...], axes: str) -> Floats:
    """The values as float64.

    Args:
        values: Anything NumPy can convert.
        name: Name of the argument, for the error message.
        shape: Expected size of each axis; None accepts any size but 0.
        axes: What the axes mean, as in "(seeds, epochs)".

    Raises:
        ValueError: The shape does not match.
    """
    array = np.asarray(values, dtype=np.float64)
    matches = array.ndim == len(shape) and all(
        size > 0 if expected is None else size == expected
        for size, expected in zip(array.shape, shape, strict=True)
    )
    if not matches:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} has shape {array.shape}, expected {axes} = ({sizes}).")
    return array


def finite_rows(points: Floats) -> NDArray[np.bool_]:
    """Mask (...) of the points (..., D) without nan and infinity."""
    return np.asarray(np.isfinite(points).all(axis=-1))


def quartiles(values: Floats) -> Floats:
    """Lower quartile, median, upper quartile (3, N) over the seeds of values (S, N).

    Values that are not finite are left out; a column without a finite value gives nan.
    """
    values = np.where(np.isfinite(values), values, np.nan)
    result = np.full((3, values.shape[1]), np.nan)
    filled = np.isfinite(values).any(axis=0)
    whole = np.isfinite(values).all(axis=0)
    quantiles = [0.25, 0.5, 0.75]
    if whole.any():  # np.nanquantile loops over columns in Python: use it only where needed
        result[:, whole] = np.quantile(values[:, whole], quantiles, axis=0)
    holes = filled & ~whole
    if holes.any():
        result[:, holes] = np.nanquantile(values[:, holes], quantiles, axis=0)
    return result


def seed_segments(x: Floats, y: Floats) -> list[Floats]:
    """One polyline (N, 2) per seed for a LineCollection, from x (N,) and y (S, N)."""
    return [np.column_stack([x, row]) for row in y]
