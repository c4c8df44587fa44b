"""Median and quartiles over seeds, where a seed may have no value."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def quartiles(name: str, values: Tensor) -> dict[str, float]:
    """Scalars to log for one value per seed.

    Args:
        name: Metric name.
        values: (S,); nan is left out.

    Returns:
        The median under ``name``, and with several seeds the quartiles under ``name_q25`` and
        ``name_q75``. Empty where every value is nan.
    """
    finite = values[~values.isnan()].float().cpu()
    if len(finite) == 0:
        return {}
    low, median, high = torch.quantile(finite, torch.tensor([0.25, 0.5, 0.75])).tolist()
    if len(values) == 1:
        return {name: median}
    return {name: median, f"{name}_q25": low, f"{name}_q75": high}


def censored_quantile(values: list[float | None], q: float) -> float:
    """Quantile of values among which None means never (later than any number).

    Linear interpolation between neighbors as in NumPy; ``inf`` where it meets a never.

    Raises:
        ValueError: No values.
    """
    if not values:
        raise ValueError("a quantile needs at least one value")
    ordered = sorted(math.inf if value is None else value for value in values)
    position = q * (len(ordered) - 1)
    below, above = ordered[math.floor(position)], ordered[math.ceil(position)]
    if math.isinf(above) and position != math.floor(position):
        return math.inf
    return below + (above - below) * (position - math.floor(position)) if above != below else below
