"""What a figure over many finished runs is drawn from: one point of a study's grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from numpy.typing import NDArray


@dataclass(frozen=True)
class GridPoint:
    """All seeds of one setting, as a study of `lightning reproduce` hands them to its figure.

    Attributes:
        labels: The point's place in the grid: axis -> value, such as {"task": "lattice"}.
        seeds: S seeds.
        metrics: By name (S,) float64, nan where a seed has no value; or (S,) text.
        arrays: By name (S, ...), such as "embedding" (S, V, E).
    """

    labels: Mapping[str, str]
    seeds: Sequence[int]
    metrics: Mapping[str, NDArray]
    arrays: Mapping[str, NDArray]
