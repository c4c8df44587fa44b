"""Median and quartiles, or counts, of what the seeds of a grid point measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from glassbox.metrics.quantiles import censored_quantile
from glassbox.reproduction.grid_point import GridPoint

EPOCH_METRICS = ("epoch", "train_epoch", "test_epoch", "delay")  # whose missing value is "never"


@dataclass(frozen=True)
class Statistic:
    """What several seeds say together.

    Attributes:
        value: Median (``inf``: the median seed has no value, it never got there), or a count.
        low: First quartile, likewise; of a count the count.
        high: Third quartile, likewise; of a count the count.
        num_seeds: Seeds that were run.
        num_missing: Those among them without a value.
        is_count: Whether seeds were counted.
        values: What each seed has, inf for a missing value; of a count 1 for those counted.
    """

    value: float
    low: float
    high: float
    num_seeds: int
    num_missing: int
    is_count: bool = False
    values: tuple[float, ...] = ()

    def count_of(self, num_seeds: int) -> float:
        """A count as it would be among ``num_seeds`` seeds, the share being the same."""
        return self.value * num_seeds / self.num_seeds


def finite_or_none(values: NDArray[Any], metric: str) -> list[float | None]:
    """One number per seed, None where there is none.

    Raises:
        ValueError: The values are names.
    """
    if values.dtype.kind not in "fiub":
        raise ValueError(
            f"the metric {metric} holds names, not numbers; tables and claims need numbers"
        )
    numbers = [float(value) for value in values]
    return [value if math.isfinite(value) else None for value in numbers]


def spread(values: Sequence[float | None]) -> Statistic:
    """Median and quartiles, a missing value being later than any number.

    Args:
        values: One per seed, at least one.
    """
    low, median, high = (censored_quantile(list(values), q) for q in (0.25, 0.5, 0.75))
    missing = sum(value is None for value in values)
    known = tuple(math.inf if value is None else value for value in values)
    return Statistic(median, low, high, len(values), missing, values=known)


def counted(hits: Sequence[bool], missing: int) -> Statistic:
    """How many seeds have something."""
    count = sum(hits)
    return Statistic(count, count, count, len(hits), missing, True, tuple(map(float, hits)))


def statistic_of(table: dict[str, Any], point: GridPoint | None) -> Statistic | None:
    """The number that a table of a study asks for, of one grid point.

    Args:
        table: Its ``metric``, its ``statistic`` and, of ``count_above``, its ``threshold``. Seeds
            at the threshold are counted, seeds without a value are not. Of ``count_named``, whose
            metric holds names, ``starts_with``: how the counted names begin. ``median_reached``
            leaves out seeds without a value, as the paper does.
        point: None where it has not been run.

    Returns:
        None where nothing was run, or the runs do not have the metric.
    """
    if point is None or len(point.seeds) == 0 or table["metric"] not in point.metrics:
        return None
    metric, kind = table["metric"], table.get("statistic", "median")
    if kind == "count_named":
        names = [str(name) for name in point.metrics[metric]]
        missing = sum(name in ("", "none") for name in names)
        return counted([name.startswith(table["starts_with"]) for name in names], missing)
    values = finite_or_none(point.metrics[metric], metric)
    if kind == "median":
        return spread(values)
    missing = sum(value is None for value in values)
    if kind == "median_reached":
        known = [value for value in values if value is not None]
        found = spread(known or [None])
        everyone = spread(values).values  # those that never get there tell protocols apart too
        return replace(found, num_seeds=len(values), num_missing=missing, values=everyone)
    threshold = -math.inf
    if kind == "count_above":  # some metrics were float32, where 0.7 is a little less than 0.7
        threshold = table["threshold"] - 1e-7 * abs(table["threshold"])
    return counted([value is not None and value >= threshold for value in values], missing)


def counts_seeds(table: Mapping[str, Any]) -> bool:
    """Whether a table's numbers are counts of seeds."""
    return str(table.get("statistic", "median")).startswith("count")


def is_epoch(metric: str, unit: str | None = None) -> bool:
    """Whether the metric counts epochs, so that a missing value means never."""
    return unit == "epochs" or metric.rsplit("/", 1)[-1] in EPOCH_METRICS
