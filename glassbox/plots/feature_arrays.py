"""Weights of features as figures need them: checked, named, and measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.arrays import Floats


class Members(NamedTuple):
    """Weights of the models that one figure shows, one panel per model."""

    weights: Floats  # (S, N, H), row i the direction of feature i
    names: list[str]  # S, above the panels; empty if none were given

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Mask (S,) of the models without nan and infinity."""
        return np.asarray(np.isfinite(self.weights).all(axis=(1, 2)))


def as_members(weights: ArrayLike, names: Sequence[str] | None = None) -> Members:
    """The weights of one model (N, H) or of several (S, N, H), with a name each.

    Args:
        weights: Row i is the direction of feature i in the hidden layer.
        names: S texts; None leaves the panels unnamed.

    Raises:
        ValueError: The weights have another number of axes or an empty one, or there are not S
            names.
    """
    array = np.asarray(weights, dtype=np.float64)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(
            f"weights has shape {np.shape(weights)}, expected (features, hidden) or "
            f"(models, features, hidden), none of them empty."
        )
    return Members(array, as_names(names, len(array), "names"))


def as_names(names: Sequence[str] | None, count: int, what: str) -> list[str]:
    """One text per panel, empty for None.

    Raises:
        ValueError: There are more or fewer than `count`.
    """
    if names is None:
        return [""] * count
    if len(names) != count:
        raise ValueError(f"{what} has {len(names)} entries, expected {count}.")
    return [str(name) for name in names]


def as_biases(biases: ArrayLike, members: Members) -> Floats:
    """The biases (S, N) of the members; (N,) is accepted for one member.

    Raises:
        ValueError: The shape does not fit the weights.
    """
    array = np.asarray(biases, dtype=np.float64)
    expected = members.weights.shape[:2]
    if array.ndim == 1 and expected[0] == 1:
        array = array[None]
    if array.shape != expected:
        raise ValueError(
            f"biases has shape {np.shape(biases)}, expected (models, features) = {expected}."
        )
    return array


def interference_of(weights: Floats) -> Floats:
    """Σ_{j≠i} (Ŵ_i · W_j)² (S, N) of weights (S, N, H); a model that is not finite gives nan."""
    import torch

    from glassbox.metrics.feature_directions import feature_interference

    return np.asarray(feature_interference(torch.from_numpy(weights)).numpy())


def dimensionality_of(weights: Floats) -> Floats:
    """‖W_i‖² / Σ_j (Ŵ_i · W_j)² (S, N) of weights (S, N, H); nan as above."""
    import torch

    from glassbox.metrics.feature_directions import feature_dimensionality

    return np.asarray(feature_dimensionality(torch.from_numpy(weights)).numpy())


def clusters_of(rows: Floats) -> list[NDArray[np.int64]]:
    """The rows' indices in each tight cluster of rows (N, H).

    Rows within 0.05 of the mean norm are linked (`glassbox.metrics.cluster_labels`). Chains wider
    than 0.3 of the mean norm, such as a smooth ring, and single rows do not count.
    """
    import torch

    from glassbox.metrics.clusters import cluster_labels

    labels = cluster_labels(torch.from_numpy(rows)).numpy()
    widest = 0.3 * np.linalg.norm(rows, axis=1).mean()
    groups = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    return [
        indices
        for indices in groups
        if len(indices) > 1 and np.ptp(rows[indices], axis=0).max() <= widest
    ]
