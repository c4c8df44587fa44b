"""Median and quartiles over seeds, where a seed may have no value."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import SupportsFloat

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
    known = values[~values.isnan()].float().cpu()
    if len(known) == 0:
        return {}
    low, median, high = torch.quantile(known, torch.tensor([0.25, 0.5, 0.75])).tolist()
    if len(values) == 1:
        return {name: median}
    return {name: median, f"{name}_q25": low, f"{name}_q75": high}


def censored_quantile(values: Iterable[SupportsFloat | None], q: float) -> float:
    """Quantile of right-censored values: a seed that never reached a threshold counts as +∞.

    Args:
        values: S numbers, such as a list, an array or a tensor; None and nan mean never.
        q: In [0, 1].

    Returns:
        The quantile, linearly interpolated between neighbors as NumPy does; ``inf`` where the
        interpolation involves a value that is never reached.

    Raises:
        ValueError: ``values`` is empty.
    """
    numbers = [math.inf if value is None else float(value) for value in values]
    ordered = sorted(math.inf if math.isnan(number) else number for number in numbers)
    if not ordered:
        raise ValueError("values is empty: a quantile needs at least one value.")
    position = q * (len(ordered) - 1)
    below, above = ordered[math.floor(position)], ordered[math.ceil(position)]
    if below == above:
        return below
    if math.isinf(above):
        return math.inf
    return below + (above - below) * (position - math.floor(position))
