"""Clusters of the rows of a weight matrix, and how tight they are.

Distances are in units of the mean norm of a member's rows, so that a member's scale plays no role.
Weights are (..., N, H), one row per feature; one (N, N) matrix is formed for each member.
"""

import torch
from torch import Tensor

from glassbox.metrics._tensors import as_points, distances, like_input


def cluster_labels(weights: Tensor, cluster_distance: float = 0.05) -> Tensor:
    """Cluster of each row by single linkage, cut at a fixed distance.

    Rows are in one cluster if they are close or connected by a chain of close rows. All rows on a
    smooth ring are connected when their spacing 2π/N is below ``cluster_distance`` (at 0.05 from
    N = 126 on): one cluster without any discretization.

    Args:
        weights: (..., N, H), one row per feature.
        cluster_distance: Largest distance of linked rows, in units of the mean norm; at least 0.

    Returns:
        (..., N) int64, numbered from 0 in the order of the clusters' first rows; -1 for all rows
        of a member that is not finite.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H), or ``cluster_distance`` is
            negative.

    Source: ours, for the discretization of the feature-geometry paper, §7 and Figure 6.
    """
    if not cluster_distance >= 0:  # nan is refused too
        raise ValueError(
            f"cluster_distance must be at least 0, in units of the mean norm, got "
            f"{cluster_distance}."
        )
    cloud = as_points(weights, "weights")
    num_rows = cloud.shape[-2]
    reach = cluster_distance * cloud.norm(dim=-1).mean(dim=-1)
    linked = distances(cloud) <= reach[..., None, None]  # (..., N, N), false where nan
    linked |= torch.eye(num_rows, dtype=torch.bool, device=cloud.device)
    root = torch.arange(num_rows, device=cloud.device).expand(cloud.shape[:-1])
    while True:
        # Each row takes the smallest root among its linked rows, then that root's own root, which
        # doubles the chain length covered per iteration.
        lowest = root[..., None, :].where(linked, num_rows).amin(dim=-1)
        lowest = lowest.gather(-1, lowest)
        if torch.equal(lowest, root):
            break
        root = lowest
    first = root == torch.arange(num_rows, device=cloud.device)
    label = (first.cumsum(dim=-1) - 1).gather(-1, root)
    return label.where(reach.isfinite()[..., None], -1).to(weights.device)


def cluster_count(weights: Tensor, cluster_distance: float = 0.05) -> Tensor:
    """Number of clusters of :func:`cluster_labels`.

    Args:
        weights: (..., N, H), one row per feature.
        cluster_distance: As there.

    Returns:
        (...) 1 to N, an integer: N if every row is its own cluster. float32, or float64 for float64
        weights.

    Raises:
        ValueError: as :func:`cluster_labels`.

    Source: as :func:`cluster_labels`.
    """
    count = cluster_labels(weights, cluster_distance).amax(dim=-1) + 1
    return like_input(count.double().where(count > 0, torch.nan), weights)


def cluster_tightness(weights: Tensor) -> Tensor:
    """Median distance of a row to the nearest other row, over the mean norm.

    It needs no threshold and does not depend on chains, unlike the count; but pairs of equal rows
    are enough to make it small.

    Args:
        weights: (..., N, H), one row per feature, N at least 2.

    Returns:
        (...) at least 0: 0 if most rows coincide with another, 2 sin(π/N) on a smooth ring
        (0.07 for N = 90), √2 for orthogonal rows of one length; nan if all rows are zero.
        float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H), or has a single row.

    Source: ours, for the discretization of the feature-geometry paper, §7 and Figure 6.
    """
    cloud = as_points(weights, "weights")
    if cloud.shape[-2] < 2:
        raise ValueError("cluster_tightness needs at least 2 rows, got 1.")
    nearest = nearest_distances(distances(cloud))
    return like_input(nearest.quantile(0.5, dim=-1) / cloud.norm(dim=-1).mean(dim=-1), weights)


def nearest_distances(apart: Tensor) -> Tensor:
    """Distance (..., N) of each row to the nearest other one, from all distances (..., N, N).

    nan where any of the row's distances is.
    """
    itself = torch.eye(apart.shape[-1], dtype=torch.bool, device=apart.device)
    return apart.masked_fill(itself, torch.inf).amin(dim=-1)
