"""The results of one grid point, which tables, claims and figures read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class GridPoint:
    """All finished seeds of one grid point."""

    labels: Mapping[str, str]  # axis -> value, such as {"task": "lattice"}, without the protocol
    seeds: Sequence[int]  # S seeds
    # name -> (S,) float64, nan where a seed has no value; or (S,) text
    metrics: Mapping[str, NDArray[Any]]
    arrays: Mapping[str, NDArray[Any]]  # name -> (S, ...), such as "embedding" (S, V, E)
    # of a point read from an earlier report, the metrics that this report covers (measured or not);
    # its arrays are unknown. None where all results are at hand
    known_metrics: frozenset[str] | None = None

    def metric(self, name: str) -> NDArray[Any] | None:
        """Values (S,) of a metric; None where the runs did not measure it."""
        if self.known_metrics is not None and name not in self.known_metrics:
            raise ValueError(f"earlier reports do not contain the metric {name}; run the study")
        return self.metrics.get(name)

    def array(self, name: str) -> NDArray[Any] | None:
        """Array (S, ...) of this name; None where the runs did not keep it."""
        if self.known_metrics is not None:
            raise ValueError(f"earlier reports do not contain the array {name}; run the study")
        return self.arrays.get(name)
