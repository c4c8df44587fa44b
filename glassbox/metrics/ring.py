"""Do the weights of circular features form a ring in the features' order, and how bent is it?

Row i of the weights (..., N, H) belongs to the feature at angle 2πi/N, so rows i and i + 1, and the
last and the first, are neighbors on the circle. Four questions, since one number cannot tell a
flat ring from a bent one, a ring that is cut somewhere, or clusters: whether nearest rows are
neighbors, whether the order holds at all distances, how far the rows turn about the origin, and
how much the closed line through them bends. All are the same for a rotated or rescaled W, for a
reversed order, and for another first feature. How flat the ring is, ``explained_variance`` tells.
"""

import math

import torch
from torch import Tensor

from glassbox.metrics._rank_correlation import spearman
from glassbox.metrics._tensors import as_points, distances, like_input
from glassbox.metrics.clusters import nearest_distances

# Distances (relative) and cosines that float32 weights cannot tell apart count as equal.
_TIE = 1e-6


def _checked(weights: Tensor) -> Tensor:
    """float64 weights of at least three rows, below which there is no ring."""
    cloud = as_points(weights, "weights")
    if cloud.shape[-2] < 3:
        raise ValueError(f"A ring needs at least 3 rows of weights, got {cloud.shape[-2]}.")
    return cloud


def _angles(first: Tensor, second: Tensor) -> Tensor:
    """Angles (...) in [0, π] between unit vectors (..., H).

    Through the half angle: the arc cosine of a dot product knows small angles to 1e-8 only, and
    there are N of them to be added.
    """
    half = torch.atan2((first - second).norm(dim=-1), (first + second).norm(dim=-1))
    return 2 * half


def _directions(rows: Tensor) -> Tensor:
    """Rows at length 1; nan for a zero row, which has no direction."""
    return rows / rows.norm(dim=-1, keepdim=True)


def ring_neighbor_fraction(weights: Tensor) -> Tensor:
    """Fraction of the features whose nearest row, by Euclidean distance, is a neighbor on the circle.

    Where several rows are equally near, a feature counts by the share of neighbors among them.

    Args:
        weights: (..., N, H), N at least 3; row i is the feature at angle 2πi/N.

    Returns:
        (...) in [0, 1]: 1 on a ring in order; 2/(N-1) by chance, and where all rows coincide (with
        3 rows always 1). float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H) with N at least 3.

    Source: feature-geometry paper, §7, the remark on Figure 4, as a number.
    """
    cloud = _checked(weights)
    apart = distances(cloud)
    own = torch.arange(cloud.shape[-2], device=cloud.device)
    nearest = apart <= nearest_distances(apart)[..., None] * (1 + _TIE)
    nearest &= own[:, None] != own
    beside = _circular_distance(own) == 1
    share = (nearest & beside).sum(dim=-1) / nearest.sum(dim=-1).to(cloud)
    return like_input(share.mean(dim=-1), weights)


def ring_correlation(weights: Tensor) -> Tensor:
    """Spearman's correlation of the distance on the circle with 1 - cos, over all pairs of rows.

    Args:
        weights: (..., N, H), N at least 3; row i is the feature at angle 2πi/N.

    Returns:
        (...) in [-1, 1]: 1 where rows point the further apart the further their features are, about
        0 without order; nan where a row is zero, or all pairs make one angle. float32, or float64
        for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H) with N at least 3.

    Source: ours; the organization that the feature-geometry paper, §7, sees in Figure 4. Cosines
    within 1e-6 count as equal: on a perfect ring N of them are, and rounding must not rank them.
    """
    cloud = _checked(weights)
    unit = _directions(cloud)
    num_rows = cloud.shape[-2]
    row, other = torch.triu_indices(num_rows, num_rows, offset=1, device=cloud.device)
    far = _circular_distance(torch.arange(num_rows, device=cloud.device))[row, other]
    cosine_distance = 1 - (unit @ unit.mT)[..., row, other]  # (..., N (N-1) / 2)
    return like_input(spearman(far.to(cloud), cosine_distance, _TIE), weights)


def ring_turn(weights: Tensor) -> Tensor:
    """Σ_i angle between W_i and W_{i+1}, all round the circle: how far the rows turn in all.

    Divided by N it is the mean angle between neighbors, which the paper expects to grow as
    the scale ℓ falls.

    Args:
        weights: (..., N, H), N at least 3; row i is the feature at angle 2πi/N.

    Returns:
        (...) radians in [0, Nπ]: 2π for one flat loop about the origin; less only if the rows
        stay on one side of it (a cone); more for a wavy ring, several loops or leaps; about Nπ/2
        without order. nan where a row is zero. float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H) with N at least 3.

    Source: ours; the "angular distance between nearby features" of the feature-geometry paper, §7.
    """
    unit = _directions(_checked(weights))
    return like_input(_angles(unit, unit.roll(-1, dims=-2)).sum(dim=-1), weights)


def ring_curvature(weights: Tensor) -> Tensor:
    """Total curvature of the closed line W_0 W_1 ... W_{N-1} W_0, a flat circle's being 1.

    The turning angles at the N corners are added up and divided by 2π: the mean turning per arc of
    the features' circle. By Fenchel's theorem it is never below 1, and 1 only for a flat convex
    ring, whatever its spacing. Distances to the origin play no role. Rows that coincide
    with the one before make no corner; rows that nearly do, as in a cluster, zigzag, and their
    angles count in full, so read this where :func:`cluster_tightness` is not small.

    Args:
        weights: (..., N, H), N at least 3; row i is the feature at angle 2πi/N.

    Returns:
        (...) in [1, N/2]: 1 for a flat circle, k for one that is gone round k times; about N/3
        without order; nan where all rows coincide. float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H) with N at least 3.

    Source: the turning of a polygon as in Milnor (1950); ours as a reading of the feature-geometry
    paper, §7, "the curvature of the representation increases".
    """
    cloud = _checked(weights)
    edge = cloud.roll(-1, dims=-2) - cloud
    length = edge.norm(dim=-1)
    moves = length > 0
    place = torch.arange(cloud.shape[-2], device=cloud.device)
    # For each edge the last one up to it that is not of length zero, and so the one before it.
    last = place.where(moves, -1).cummax(dim=-1).values
    before = last.where(last >= 0, last[..., -1:]).roll(1, dims=-1)
    direction = edge / length[..., None]
    previous = direction.gather(-2, before.clamp_min(0)[..., None].expand_as(direction))
    turning = _angles(previous, direction).where(moves, 0.0).sum(dim=-1) / (2 * math.pi)
    return like_input(turning.where(moves.any(dim=-1), torch.nan), weights)


def _circular_distance(index: Tensor) -> Tensor:
    """Steps (N, N) between features 0..N-1 on the circle, the shorter way round."""
    steps = (index[:, None] - index).abs()
    return torch.minimum(steps, len(index) - steps)
