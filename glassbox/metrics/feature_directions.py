"""How features are represented by the rows of W: norms, dimensionality, alignment, priority."""

from __future__ import annotations

import torch
from torch import Tensor

from glassbox.metrics._rank_correlation import spearman
from glassbox.metrics._tensors import as_points, like_input
from glassbox.metrics.superposition import capacity, polysemanticity


def feature_norms(weights: Tensor) -> Tensor:
    """‖W_i‖, how strongly each feature is represented: about 1 if it is, about 0 otherwise.

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
    """Number of features whose norm is above the threshold.

    Args:
        weights: (..., N, H), one row per feature.
        threshold: A norm must be strictly greater; at least 0.

    Returns:
        (...) 0 to N, an integer; float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H), or ``threshold`` is negative.

    Source: ours, after the norms of Elhage et al. 2022, which cluster near 0 and 1. Use another
    threshold for features whose norm is smaller by construction (points on a circle: 2/√N).
    """
    if not threshold >= 0:  # nan is refused too
        raise ValueError(f"threshold must be at least 0, got {threshold}.")
    norms = feature_norms(as_points(weights, "weights"))
    count = (norms > threshold).to(norms).sum(dim=-1)
    return like_input(count.where(norms.isfinite().all(dim=-1), torch.nan), weights)


def feature_count(weights: Tensor) -> Tensor:
    """‖W‖²_F = Σ_i ‖W_i‖², the number of represented features, each weighted by its squared norm.

    Args:
        weights: (..., N, H), one row per feature.

    Returns:
        (...) at least 0; float32, or float64 for float64 weights. Above H: superposition.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H).

    Source: Elhage et al. 2022, "The geometry of superposition".
    """
    return like_input(as_points(weights, "weights").square().sum(dim=(-2, -1)), weights)


def dimensions_per_feature(weights: Tensor) -> Tensor:
    """D* = H / ‖W‖²_F, hidden dimensions per represented feature.

    Args:
        weights: (..., N, H), one row per feature.

    Returns:
        (...) above 0: 1 without superposition, 1/2 for pairs of opposite directions; inf if all
        weights are zero. float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H).

    Source: Elhage et al. 2022, "The geometry of superposition".
    """
    cloud = as_points(weights, "weights")
    return like_input(cloud.shape[-1] / feature_count(cloud), weights)


def feature_interference(weights: Tensor) -> Tensor:
    """Σ_{j≠i} (Ŵ_i · W_j)² with Ŵ_i = W_i/‖W_i‖, the other features' overlap with a direction.

    Args:
        weights: (..., N, H), one row per feature.

    Returns:
        (..., N) at least 0: 0 for a direction orthogonal to all others, and for a zero row.
        float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H).

    Source: Elhage et al. 2022, the color of their bars; equals ``polysemanticity`` of the rows.
    """
    return like_input(polysemanticity(as_points(weights, "weights")), weights)


def feature_dimensionality(weights: Tensor) -> Tensor:
    """D_i = ‖W_i‖² / Σ_j (Ŵ_i · W_j)², the fraction of a dimension that a feature has to itself.

    A member's values add up to at most the rank of its W, with equality where the features are
    packed efficiently.

    Args:
        weights: (..., N, H), one row per feature.

    Returns:
        (..., N) in [0, 1]: 1 orthogonal to all others, 3/4 in a tetrahedron, 2/3 in a triangle, 1/2
        in a digon, 2/5 in a pentagon, 3/8 in a square antiprism, 0 for a zero row. It does not
        depend on the scale of all weights; a feature of small norm has nearly 0 if it overlaps with
        others, and 1 if it is orthogonal to them. float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H).

    Source: Elhage et al. 2022, "The geometry of superposition"; equals ``capacity`` of the rows.
    """
    return like_input(capacity(as_points(weights, "weights")), weights)


def basis_alignment(weights: Tensor) -> Tensor:
    """max_k W_ik² / ‖W_i‖², how much of a feature's squared norm is on a single neuron.

    Unlike the other metrics it depends on the basis of the hidden space.

    Args:
        weights: (..., N, H), one row per feature.

    Returns:
        (..., N) in [1/H, 1]: 1 on one neuron, 1/H equally on all; 0 for a zero row. In random
        directions it averages 0.55 for H = 5. float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H).

    Source: ours, for observation 6 of the feature-geometry paper, §6 (a privileged basis).
    """
    relative = _relative_size(weights)
    square = relative.square().sum(dim=-1)  # at least 1, except for zero rows
    return like_input((1.0 / square).masked_fill(square == 0, 0.0), weights)


def basis_sparsity(weights: Tensor) -> Tensor:
    """Fraction of the neurons on which a feature does not lie: |W_ik| < 0.05 ‖W_i‖.

    Unlike :func:`basis_alignment`, it is also high for features on two or three of many neurons.

    Args:
        weights: (..., N, H), one row per feature.

    Returns:
        (..., N) in [0, 1]: (H - 1)/H on one neuron. In random directions it averages 0.075 for
        H = 5; 0 for a zero row. float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H).

    Source: ours, for observation 6 of the feature-geometry paper, §6 (a privileged basis).
    """
    relative = _relative_size(weights)
    norm = torch.linalg.vector_norm(relative, dim=-1, keepdim=True)
    # A comparison with nan is false and would count as a large weight.
    small = (relative < 0.05 * norm).double().where(relative.isfinite(), torch.nan)
    return like_input(small.mean(dim=-1), weights)


def _relative_size(weights: Tensor) -> Tensor:
    """|W_ik| over the largest of its row (..., N, H), so that squares do not underflow."""
    size = as_points(weights, "weights").abs()
    largest = size.amax(dim=-1, keepdim=True)
    return size / largest.masked_fill(largest == 0, 1.0)


def pair_cosine(weights: Tensor) -> Tensor:
    """cos(W_2k, W_2k+1), the cosine between the partners of each pair of features.

    Args:
        weights: (..., N, H), one row per feature, N even; features 2k and 2k + 1 are a pair.

    Returns:
        (..., N/2) in [-1, 1]: 1 parallel, 0 orthogonal, -1 antipodal; nan if either row is zero
        or not finite. float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H), or N is odd.

    Source: ours, for "Correlated and anticorrelated features" of Elhage et al. 2022: correlated
    partners prefer to be orthogonal, or else parallel; anti-correlated ones antipodal.
    """
    cloud = as_points(weights, "weights")
    if cloud.shape[-2] % 2:
        raise ValueError(f"weights must have an even number of rows, got {cloud.shape[-2]}.")
    first, second = cloud[..., 0::2, :], cloud[..., 1::2, :]
    lengths = torch.linalg.vector_norm(first, dim=-1) * torch.linalg.vector_norm(second, dim=-1)
    cosine = ((first * second).sum(dim=-1) / lengths).clamp(-1, 1)  # 0/0 is nan
    return like_input(cosine, weights)


def priority_correlation(
    weights: Tensor, priority: Tensor, represented: Tensor | None = None
) -> Tensor:
    """Spearman's correlation of the features' dimensionality with their priority.

    Features that are not represented have dimensionality near 0. If they are included, the value
    mainly shows which features are represented; otherwise, how clean the represented ones are.

    Args:
        weights: (M, N, H), one row per feature.
        priority: (M, N), such as importance times the probability of being active.
        represented: (M, N) bool, features to include; all by default.

    Returns:
        (M,) in [-1, 1]: 1 if dimensionality always increases with priority; nan if all included
        features have the same priority.

    Source: Bowcott §6, observation 3; Toy Models of Superposition (Elhage et al. 2022).
    """
    dimensionality = feature_dimensionality(weights).double()
    if represented is None:
        return spearman(priority.double(), dimensionality)
    rows = zip(priority.double(), dimensionality, represented, strict=True)
    return torch.stack([spearman(wanted[mask], own[mask]) for wanted, own, mask in rows])


def top_priority_fraction(represented: Tensor, priority: Tensor) -> Tensor:
    """Fraction of the k represented features that are among the k of highest priority.

    Args:
        represented: (M, N) bool.
        priority: (M, N); features of equal priority are interchangeable.

    Returns:
        (M,) in [0, 1]; nan if none is represented.

    Source: Bowcott §6, observation 1: a linear model keeps the k most important ones.
    """
    count = represented.sum(dim=-1, keepdim=True)  # (M, 1)
    ordered = priority.sort(dim=-1, descending=True).values
    lowest = ordered.gather(-1, (count - 1).clamp_min(0))  # the k-th highest priority
    chosen = (represented & (priority >= lowest)).sum(dim=-1)
    return torch.where(count[:, 0] > 0, chosen / count[:, 0], torch.nan)
