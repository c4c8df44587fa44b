"""Whether the weights of circular features form a ring in the features' order, and its shape.

Row i of the weights (..., N, H) belongs to the feature at angle 2πi/N, so rows i and i + 1, and the
last and the first, are neighbors on the circle. Four metrics separate a flat ring from a bent one,
an interrupted one and clusters: whether nearest rows are neighbors, whether the order holds at all
distances, how far the rows turn about the origin, and how much the closed line through them bends.
All are invariant to rotating or rescaling W, to reversing the order and to the choice of the first
feature. ``explained_variance`` measures how flat the ring is.
"""

import math

import torch
from torch import Tensor

from glassbox.metrics._rank_correlation import spearman
from glassbox.metrics._tensors import as_points, distances, like_input
from glassbox.metrics.clusters import nearest_distances

# Relative distances and cosines within the resolution of float32 weights count as equal.
_TIE = 1e-6


def _checked(weights: Tensor) -> Tensor:
    """Weights in float64, of at least three rows."""
    cloud = as_points(weights, "weights")
    if cloud.shape[-2] < 3:
        raise ValueError(
            f"weights must have at least 3 rows to form a ring, got {cloud.shape[-2]}."
        )
    return cloud


def _angles(first: Tensor, second: Tensor) -> Tensor:
    """Angles (...) in [0, π] between unit vectors (..., H).

    Computed from the half angle: the arc cosine of a dot product resolves small angles only to
    1e-8, and N of them are summed.
    """
    half = torch.atan2((first - second).norm(dim=-1), (first + second).norm(dim=-1))
    return 2 * half


def _directions(rows: Tensor) -> Tensor:
    """Rows scaled to length 1; nan for a zero row."""
    return rows / rows.norm(dim=-1, keepdim=True)


def ring_neighbor_fraction(weights: Tensor) -> Tensor:
    """Fraction of the features whose nearest row (Euclidean) is a neighbor on the circle.

    If several rows are equally near, a feature counts the fraction of neighbors among them.

    Args:
        weights: (..., N, H), N at least 3; row i is the feature at angle 2πi/N.

    Returns:
        (...) in [0, 1]: 1 on a ring in order; 2/(N-1) by chance, and if all rows coincide (with 3
        rows always 1). float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H) with N at least 3.

    Source: ours, for the remark on Figure 4 in the feature-geometry paper, §7.
    """
    cloud = _checked(weights)
    apart = distances(cloud)
    own = torch.arange(cloud.shape[-2], device=cloud.device)
    nearest = apart <= nearest_distances(apart)[..., None] * (1 + _TIE)
    nearest &= own[:, None] != own
    beside = _circular_distance(own) == 1
    fraction = (nearest & beside).sum(dim=-1) / nearest.sum(dim=-1).to(cloud)
    return like_input(fraction.mean(dim=-1), weights)


def ring_correlation(weights: Tensor) -> Tensor:
    """Spearman's correlation of the distance on the circle with 1 - cos, over all pairs of rows.

    Args:
        weights: (..., N, H), N at least 3; row i is the feature at angle 2πi/N.

    Returns:
        (...) in [-1, 1]: 1 if the angle between rows increases with the distance of their features,
        about 0 without order; nan if a row is zero, or all pairs have the same angle. float32, or
        float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H) with N at least 3.

    Source: ours; the organization that the feature-geometry paper, §7, describes for Figure 4.
    Cosines within 1e-6 count as equal, since on a perfect ring rounding must not rank them.
    """
    cloud = _checked(weights)
    unit = _directions(cloud)
    num_rows = cloud.shape[-2]
    row, other = torch.triu_indices(num_rows, num_rows, offset=1, device=cloud.device)
    far = _circular_distance(torch.arange(num_rows, device=cloud.device))[row, other]
    cosine_distance = 1 - (unit @ unit.mT)[..., row, other]  # (..., N (N-1) / 2)
    return like_input(spearman(far.to(cloud), cosine_distance, _TIE), weights)


def ring_turn(weights: Tensor) -> Tensor:
    """Σ_i angle between W_i and W_{i+1} around the circle: the total angle about the origin.

    Divided by N it is the mean angle between neighbors, which the paper expects to increase as
    the scale ℓ decreases.

    Args:
        weights: (..., N, H), N at least 3; row i is the feature at angle 2πi/N.

    Returns:
        (...) radians in [0, Nπ]: 2π for one flat loop about the origin; less only if the rows are
        on one side of it (a cone); more for a wavy ring, several loops or jumps; about Nπ/2 without
        order; nan if a row is zero. float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H) with N at least 3.

    Source: ours; the "angular distance between nearby features" of the feature-geometry paper, §7.
    """
    unit = _directions(_checked(weights))
    return like_input(_angles(unit, unit.roll(-1, dims=-2)).sum(dim=-1), weights)


def ring_curvature(weights: Tensor) -> Tensor:
    """Total curvature of the closed line W_0 W_1 ... W_{N-1} W_0, relative to a flat circle.

    The turning angles at the N corners are summed and divided by 2π. By Fenchel's theorem the value
    is at least 1, and 1 only for a flat convex ring, with any spacing. Distances to the origin play
    no role. A row that equals the previous one makes no corner; rows that nearly coincide, as in a
    cluster, zigzag at full angles, so the value is meaningful only if :func:`cluster_tightness` is
    not small.

    Args:
        weights: (..., N, H), N at least 3; row i is the feature at angle 2πi/N.

    Returns:
        (...) in [1, N/2]: 1 for a flat circle, k for one traversed k times; about N/3 without
        order; nan if all rows coincide. float32, or float64 for float64 weights.

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
    # Index of the last edge of nonzero length up to each edge, shifted to the one before it.
    last = place.where(moves, -1).cummax(dim=-1).values
    before = last.where(last >= 0, last[..., -1:]).roll(1, dims=-1)
    direction = edge / length[..., None]
    previous = direction.gather(-2, before.clamp_min(0)[..., None].expand_as(direction))
    turning = _angles(previous, direction).where(moves, 0.0).sum(dim=-1) / (2 * math.pi)
    return like_input(turning.where(moves.any(dim=-1), torch.nan), weights)


def _circular_distance(index: Tensor) -> Tensor:
    """Steps (N, N) between features 0..N-1 along the shorter arc of the circle."""
    steps = (index[:, None] - index).abs()
    return torch.minimum(steps, len(index) - steps)
