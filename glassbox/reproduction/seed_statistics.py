"""Median and quartiles over the seeds of a grid point, or counts of seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from glassbox.metrics.quantiles import censored_quantile
from glassbox.reproduction.grid_point import GridPoint
from glassbox.reproduction.schema import Table


@dataclass(frozen=True)
class Statistic:
    """Median and quartiles over seeds, or a count of seeds."""

    value: float  # median (inf: the median seed has no value), or the count
    low: float  # first quartile, or the count
    high: float  # third quartile, or the count
    num_seeds: int  # number of seeds
    num_missing: int  # number of seeds without a value
    is_count: bool = False  # whether seeds were counted
    # per seed the value, inf where it is missing; of a count 1 where it counts
    values: tuple[float, ...] = ()

    def count_of(self, num_seeds: int) -> float:
        """The count scaled to ``num_seeds`` seeds."""
        return self.value * num_seeds / self.num_seeds


def finite_or_none(values: NDArray[Any], metric: str) -> list[float | None]:
    """Values per seed, None where there is none."""
    if values.dtype.kind not in "fiub":
        raise ValueError(
            f"metric {metric} holds text; tables and claims need numbers (or use count_named)"
        )
    numbers = [float(value) for value in values]
    return [value if math.isfinite(value) else None for value in numbers]


def median_and_quartiles(values: Sequence[float | None]) -> Statistic:
    """Median and quartiles of one value per seed; None counts as larger than any number."""
    low, median, high = (censored_quantile(list(values), q) for q in (0.25, 0.5, 0.75))
    missing = sum(value is None for value in values)
    numbers = tuple(math.inf if value is None else value for value in values)
    return Statistic(median, low, high, len(values), missing, values=numbers)


def statistic_of(table: Table, point: GridPoint | None) -> Statistic | None:
    """Statistic of a table at one grid point.

    Args:
        table: With ``count_above``, seeds at the threshold count and seeds without a value do not.
            ``count_named`` counts names that begin with ``starts_with``. ``median_reached`` leaves
            out seeds without a value.
        point: None where it has not been run.

    Returns:
        None where nothing was run, or the runs did not measure the metric.
    """
    values = point.metric(table.metric) if point is not None and len(point.seeds) else None
    if values is None:
        return None
    if table.statistic == "count_named":
        names = [str(name) for name in values]
        prefix = table.starts_with or ""
        missing = sum(name in ("", "none") for name in names)
        return _count([name.startswith(prefix) for name in names], missing)
    numbers = finite_or_none(values, table.metric)
    if table.statistic == "median":
        return median_and_quartiles(numbers)
    missing = sum(value is None for value in numbers)
    if table.statistic == "median_reached":
        reached = median_and_quartiles([v for v in numbers if v is not None] or [None])
        # Seeds that never reach the threshold still count when protocols are compared.
        everyone = median_and_quartiles(numbers).values
        return replace(reached, num_seeds=len(numbers), num_missing=missing, values=everyone)
    threshold = -math.inf
    if table.threshold is not None:  # in float32, 0.7 is slightly below 0.7
        threshold = table.threshold - 1e-7 * abs(table.threshold)
    return _count([value is not None and value >= threshold for value in numbers], missing)


def _count(hits: Sequence[bool], missing: int) -> Statistic:
    """Number of seeds among ``hits``."""
    count = sum(hits)
    return Statistic(count, count, count, len(hits), missing, True, tuple(map(float, hits)))
