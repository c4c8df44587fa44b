"""Which features are represented, and how cleanly, against how much they matter to the loss."""

from __future__ import annotations

import torch
from torch import Tensor

from callbacks.metrics._rank_correlation import spearman
from callbacks.metrics.feature_directions import feature_dimensionality


def priority_correlation(
    weights: Tensor, priority: Tensor, represented: Tensor | None = None
) -> Tensor:
    """Rank correlation of the features' dimensionality with their priority.

    1 where a feature that matters more always has more of a dimension to itself. A feature that is
    not represented has dimensionality near 0; with such features the number says above all which
    are represented, without them how clean the directions of those are that are.

    Args:
        weights: (M, N, H), one row a feature.
        priority: (M, N), such as importance times the probability of being active.
        represented: (M, N) bool, the features that count; all by default.

    Returns:
        (M,) in [-1, 1]; nan where all features that count have the same priority.

    Source: Bowcott §6, observation 3; Toy Models of Superposition (Elhage et al. 2022).
    """
    dimensionality = feature_dimensionality(weights).double()
    if represented is None:
        return spearman(priority.double(), dimensionality)
    of_members = [
        spearman(matters[counts].double(), own[counts])
        for matters, own, counts in zip(priority, dimensionality, represented, strict=True)
    ]
    return torch.stack(of_members)


def most_important_share(represented: Tensor, priority: Tensor) -> Tensor:
    """Of k represented features the share that is among the k of highest priority.

    Args:
        represented: (M, N) bool.
        priority: (M, N); features of equal priority are as good as one another.

    Returns:
        (M,) in [0, 1]; nan where none is represented.

    Source: Bowcott §6, observation 1: a linear model keeps the k most important ones.
    """
    count = represented.sum(dim=-1, keepdim=True)  # (M, 1)
    ordered = priority.sort(dim=-1, descending=True).values
    least = ordered.gather(-1, (count - 1).clamp_min(0))  # the k-th highest priority
    chosen = (represented & (priority >= least)).sum(dim=-1)
    return torch.where(count[:, 0] > 0, chosen / count[:, 0], torch.nan)
