"""Helpers of all metrics: checked float64 input, exact distances, results in the caller's dtype."""

import torch
from torch import Tensor


def as_points(points: Tensor, name: str = "points") -> Tensor:
    """``points`` (..., V, E), detached, in float64; a cloud that is not all finite is all nan.

    Otherwise a nan could be lost in a maximum or a comparison, and an infinity could divide to a
    perfect 0. Raises as :func:`check_points`.
    """
    check_points(points, name)
    points = points.detach()
    if points.device.type == "mps":  # Apple's GPUs have no float64
        points = points.cpu()
    points = points.double()
    finite = points.isfinite().all(dim=-1).all(dim=-1)
    return points.where(finite[..., None, None], torch.nan)


def check_points(points: Tensor, name: str = "points") -> None:
    """Raise a ValueError unless ``points`` are a non-empty floating-point (..., V, E)."""
    if not points.is_floating_point():
        raise ValueError(f"{name} must be floating point, got {points.dtype}.")
    if points.dim() < 2 or 0 in points.shape[-2:]:
        raise ValueError(
            f"{name} must be (..., rows, features) with at least one of each, "
            f"got shape {tuple(points.shape)}."
        )


def as_labels(labels: Tensor, points: Tensor, name: str = "labels") -> Tensor:
    """``labels`` (..., V) as int64 on the device of ``points`` (..., V, E).

    Raises:
        ValueError: The labels are not integers, or not one per point.
    """
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"{name} must be integers, got {labels.dtype}.")
    if labels.dim() < 1 or labels.shape[-1] != points.shape[-2]:
        raise ValueError(
            f"{name} must have one entry for each of the {points.shape[-2]} points, "
            f"got shape {tuple(labels.shape)}."
        )
    return labels.detach().to(device=points.device, dtype=torch.int64)


def as_flat_labels(labels: Tensor, points: Tensor, name: str = "labels") -> Tensor:
    """Like :func:`as_labels`, for metrics whose labels are ``(V,)``, one labeling for all seeds."""
    if labels.dim() != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {tuple(labels.shape)}.")
    return as_labels(labels, points, name)


def like_input(result: Tensor, like: Tensor) -> Tensor:
    """``result`` on the device of ``like``; float64 if ``like`` is, float32 otherwise."""
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    return result.to(device=like.device, dtype=dtype)


def centered(points: Tensor) -> Tensor:
    """``points`` (..., V, E) minus their mean.

    The first point is subtracted before the mean, so that equal points give exact zeros rather than
    rounding residue, which would look like a direction to principal components and angles.
    """
    points = points - points[..., :1, :]
    return points - points.mean(dim=-2, keepdim=True)


def distances(points: Tensor) -> Tensor:
    """Euclidean distances (..., V, V) between ``points`` (..., V, E).

    Differences are formed explicitly: the |x|^2 + |y|^2 - 2xy form of ``cdist`` loses half the
    digits of small distances and does not give a zero diagonal.
    """
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
