"""Spearman's rank correlation for many samples at once, with a tolerance for ties."""

import torch
from torch import Tensor


def average_ranks(values: Tensor, tolerance: float = 0.0) -> Tensor:
    """Ranks (..., P) from 0 of float64 values (..., P); equal values share their mean rank.

    Values count as equal if they, or a chain of values between them, differ by at most
    ``tolerance``. A sample with a nan has no meaningful ranks.
    """
    ordered, order = values.sort(dim=-1)
    rises = torch.diff(ordered, dim=-1, prepend=ordered[..., :1]) > tolerance
    group = rises.cumsum(dim=-1)  # (..., P), index of the distinct value
    place = torch.arange(values.shape[-1], dtype=values.dtype, device=values.device)
    zeros = torch.zeros_like(values)
    total = zeros.scatter_add(-1, group, place.expand_as(values))
    members = zeros.scatter_add(-1, group, torch.ones_like(values))
    mean = (total / members.clamp_min(1)).gather(-1, group)
    return zeros.scatter(-1, order, mean)


def spearman(x: Tensor, y: Tensor, tolerance: float = 0.0) -> Tensor:
    """Spearman's correlation (...) of float64 x and y (..., P): Pearson's correlation of the ranks.

    ``tolerance`` is for ties in ``y``. nan where one side is constant or ``y`` has a nan. As
    ``scipy.stats.spearmanr``, which has no tolerance.
    """
    first, second = average_ranks(x), average_ranks(y, tolerance)
    mean = (x.shape[-1] - 1) / 2  # also with ties
    first, second = first - mean, second - mean
    scale = (first.square().sum(dim=-1) * second.square().sum(dim=-1)).sqrt()
    correlation = (first * second).sum(dim=-1) / scale
    return correlation.where(y.isfinite().all(dim=-1), torch.nan)
