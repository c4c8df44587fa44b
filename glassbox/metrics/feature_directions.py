"""Which features are represented, and how cleanly, against how much they matter to the loss."""

from __future__ import annotations

import torch
from torch import Tensor

from glassbox.metrics._rank_correlation import spearman
from glassbox.metrics._tensors import as_points, like_input
from glassbox.metrics.superposition import capacity, polysemanticity


def feature_norms(weights: Tensor) -> Tensor:
    """‖W_i‖, how strongly each feature is represented: about 1 if it is, about 0 if it is not.

    Args:
        weights: (..., N, H), one row per feature.

    Returns:
        (..., N) at least 0; float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H).

    Source: Elhage et al. 2022, "Demonstrating superposition"; feature-geometry paper, Figure 5.
    """
    return like_input(torch.linalg.vector_norm(as_points(weights, "weights"), dim=-1), weights)


def represented_features(weights: Tensor, threshold: float = 0.5) -> Tensor:
    """How many features have a norm above the threshold.

    Args:
        weights: (..., N, H), one row per feature.
        threshold: a norm must be strictly greater; at least 0.

    Returns:
        (...) 0 to N, a whole number; float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H), or ``threshold`` is negative.

    Source: ours, after the norms of Elhage et al. 2022, which gather near 0 and 1. Where features
    have less than full norm by nature (points on a circle: 2/√N), use another threshold.
    """
    if not threshold >= 0:  # nan is refused too
        raise ValueError(f"threshold must be a norm of at least 0, got {threshold}.")
    norms = feature_norms(as_points(weights, "weights"))
    count = (norms > threshold).to(norms).sum(dim=-1)
    return like_input(count.where(norms.isfinite().all(dim=-1), torch.nan), weights)


def feature_count(weights: Tensor) -> Tensor:
    """‖W‖²_F = Σ_i ‖W_i‖², the number of features without a threshold: each counts its square norm.

    Args:
        weights: (..., N, H), one row per feature.

    Returns:
        (...) at least 0; float32, or float64 for float64 weights. Above H there is superposition.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H).

    Source: Elhage et al. 2022, "The geometry of superposition".
    """
    return like_input(as_points(weights, "weights").square().sum(dim=(-2, -1)), weights)


def dimensions_per_feature(weights: Tensor) -> Tensor:
    """D* = H / ‖W‖²_F, how many hidden dimensions each represented feature has on average.

    Args:
        weights: (..., N, H), one row per feature.

    Returns:
        (...) above 0: 1 without superposition, 1/2 for pairs of opposite directions; inf where all
        weights are zero. float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H).

    Source: Elhage et al. 2022, "The geometry of superposition".
    """
    cloud = as_points(weights, "weights")
    return like_input(cloud.shape[-1] / feature_count(cloud), weights)


def feature_interference(weights: Tensor) -> Tensor:
    """Σ_{j≠i} (Ŵ_i · W_j)² with Ŵ_i = W_i/‖W_i‖, what lies in a feature's direction of the others.

    Args:
        weights: (..., N, H), one row per feature.

    Returns:
        (..., N) at least 0: 0 for a direction of its own, and for a zero row, which has none.
        float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H).

    Source: Elhage et al. 2022, the color of their bars; it is ``polysemanticity`` of the rows.
    """
    return like_input(polysemanticity(as_points(weights, "weights")), weights)


def feature_dimensionality(weights: Tensor) -> Tensor:
    """D_i = ‖W_i‖² / Σ_j (Ŵ_i · W_j)², the share of a dimension that a feature has to itself.

    A member's values add up to at most the rank of its W, with equality where the features are
    packed efficiently.

    Args:
        weights: (..., N, H), one row per feature.

    Returns:
        (..., N) in [0, 1]: 1 orthogonal to all others, 3/4 in a tetrahedron, 2/3 in a triangle, 1/2
        in a digon, 2/5 in a pentagon, 3/8 in a square antiprism, 0 for a zero row. The scale of
        all weights together plays no role; a faint feature beside others has nearly 0, one that is
        orthogonal to them 1. float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H).

    Source: Elhage et al. 2022, "The geometry of superposition"; it is ``capacity`` of the rows.
    """
    return like_input(capacity(as_points(weights, "weights")), weights)


def basis_alignment(weights: Tensor) -> Tensor:
    """max_k W_ik² / ‖W_i‖², how much of a feature is on one single neuron.

    Unlike the others it changes when the hidden space is rotated: that is what it asks.

    Args:
        weights: (..., N, H), one row per feature.

    Returns:
        (..., N) in [1/H, 1]: 1 on one neuron, 1/H on all alike; 0 for a zero row. In random
        directions it averages 0.55 for H = 5. float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H).

    Source: ours, for observation 6 of the feature-geometry paper, §6 (a privileged basis).
    """
    relative = _relative_size(weights)
    square = relative.square().sum(dim=-1)  # at least 1, but of a zero row
    return like_input((1.0 / square).masked_fill(square == 0, 0.0), weights)


def basis_sparsity(weights: Tensor, small: float = 0.05) -> Tensor:
    """Fraction of the neurons on which a feature does not lie: |W_ik| below a twentieth of ‖W_i‖.

    Beside :func:`basis_alignment`, which asks for one neuron alone, it sees features on two or
    three neurons of many.

    Args:
        weights: (..., N, H), one row per feature.
        small: Largest |W_ik| / ‖W_i‖ that counts as none.

    Returns:
        (..., N) in [0, 1]: (H - 1)/H on one neuron. In random directions it averages 0.075 for
        H = 5; 0 for a zero row. float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H).

    Source: ours, for observation 6 of the feature-geometry paper, §6 (a privileged basis).
    """
    relative = _relative_size(weights)
    norm = torch.linalg.vector_norm(relative, dim=-1, keepdim=True)
    return like_input((relative < small * norm).double().mean(dim=-1), weights)


def _relative_size(weights: Tensor) -> Tensor:
    """|W_ik| over the largest of its row, so that no square underflows; (..., N, H)."""
    size = as_points(weights, "weights").abs()
    largest = size.amax(dim=-1, keepdim=True)
    return size / largest.masked_fill(largest == 0, 1.0)


def pair_cosine(weights: Tensor) -> Tensor:
    """cos(W_2k, W_2k+1), between the directions of the partners of each pair.

    Args:
        weights: (..., N, H), one row per feature, N even; features 2k and 2k + 1 are a pair.

    Returns:
        (..., N/2) in [-1, 1]: 1 side by side, 0 orthogonal, -1 antipodal; nan where either row is
        zero, which has no direction, or not finite. float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H), or N is odd.

    Source: ours, for "Correlated and anticorrelated features" of Elhage et al. 2022: correlated
    partners prefer to be orthogonal and otherwise side by side, anti-correlated ones antipodal.
    """
    cloud = as_points(weights, "weights")
    if cloud.shape[-2] % 2:
        raise ValueError(f"weights has {cloud.shape[-2]} rows; features in pairs are even.")
    first, second = cloud[..., 0::2, :], cloud[..., 1::2, :]
    lengths = torch.linalg.vector_norm(first, dim=-1) * torch.linalg.vector_norm(second, dim=-1)
    cosine = ((first * second).sum(dim=-1) / lengths).clamp(-1, 1)  # 0/0 is nan
    return like_input(cosine, weights)


def priority_correlation(
    weights: Tensor, priority: Tensor, represented: Tensor | None = None
) -> Tensor:
    """Rank correlation of the features' dimensionality with their priority.

    1 where a feature that matters more always has more of a dimension to itself. A feature that is
    not represented has dimensionality near 0; with such features the number says above all which
    are represented, without them how clean the directions of those are that are.

    Args:
        weights: (M, N, H), one row per feature.
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


def top_priority_fraction(represented: Tensor, priority: Tensor) -> Tensor:
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
