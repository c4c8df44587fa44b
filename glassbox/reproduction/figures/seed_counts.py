"""Number of seeds behind the lines and points of a figure, which may differ among models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from glassbox.reproduction.figures.select_points import numbers_of
from glassbox.reproduction.grid_point import GridPoint


class SeedCounts(NamedTuple):
    """Number of seeds as a legend shows it."""

    labels: list[str]  # of the models, with their number of seeds if it differs among models
    common: str  # number of seeds of all models, such as "20 seeds"; empty if it differs


def seeds_text(counts: Iterable[int]) -> str:
    """Range of the numbers of seeds: "1 seed", "20 seeds", "3 to 20 seeds"; empty for none."""
    known = sorted(counts)
    if not known:
        return ""
    low, high = known[0], known[-1]
    if low == high:
        return f"{high} seed{'s' * (high != 1)}"
    return f"{low} to {high} seeds"


def seed_counts(
    points: Sequence[GridPoint], models: Sequence[str], metric: str | None = None
) -> SeedCounts:
    """Number of seeds of each model, from its point with the fewest to that with the most."""
    texts = [
        seeds_text(_count(point, metric) for point in points if point.labels["model"] == model)
        for model in models
    ]
    if len(set(texts)) == 1:
        return SeedCounts(list(models), texts[0])
    return SeedCounts([f"{m} ({t})" for m, t in zip(models, texts, strict=True)], "")


def _count(point: GridPoint, metric: str | None) -> int:
    if metric is None:
        return len(point.seeds)
    return int(np.isfinite(numbers_of(point, metric)).sum())
