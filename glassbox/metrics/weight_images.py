"""Weights of a layer on pixels: how many are near zero, and their similarity to class means.

Weights are ``(..., C, P)``, one row per class or hidden unit and one column per pixel; class means
are ``(C, P)``. A class without a mean (a row of nan) is ignored; weights that are not all finite
give nan.
"""

import torch
from torch import Tensor

from glassbox.metrics._tensors import as_points, check_points, like_input

NEAR_ZERO = 0.01


def border_pixels(rows: int, columns: int, border: int = 4) -> Tensor:
    """Mask of the pixels that are less than ``border`` pixels from an edge of an image.

    MNIST's digits were scaled to 20 × 20 pixels and centered in 28 × 28 by their center of mass: a
    border of four pixels is half of the area and holds 3.3 % of the intensity.

    Args:
        rows: Number of pixel rows.
        columns: Number of pixel columns.
        border: Width in pixels; all pixels belong to it if no interior is left.

    Returns:
        (rows · columns,) bool, row by row from the top left.

    Raises:
        ValueError: A number is below 1.
    """
    if min(rows, columns, border) < 1:
        raise ValueError(
            f"rows, columns and border must be at least 1, got {rows}, {columns} and {border}."
        )
    frame = torch.ones(rows, columns, dtype=torch.bool)
    frame[border : max(border, rows - border), border : max(border, columns - border)] = False
    return frame.flatten()


def near_zero_fraction(weights: Tensor, pixels: Tensor | None = None) -> Tensor:
    """Fraction of the weights with |w| < 0.01.

    Args:
        weights: (..., C, P).
        pixels: (P,) bool, the pixels to count; None for all.

    Returns:
        (...) in [0, 1]; nan if no pixel is chosen.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., C, P), or ``pixels`` does not fit.

    Source: harmonic-loss paper §5 and the caption of Figure 5, whose image shows w < 0.01, which
    includes large negative weights.
    """
    weight = as_points(weights, "weights")
    if pixels is not None:
        if pixels.dtype != torch.bool or pixels.shape != weight.shape[-1:]:
            raise ValueError(
                f"pixels must be ({weight.shape[-1]},) of bool, got {tuple(pixels.shape)} of "
                f"{pixels.dtype}."
            )
        weight = weight[..., pixels.to(weight.device)]
    # A comparison with nan is false and would count as far from zero.
    near = torch.where(weight.isnan(), torch.nan, (weight.abs() < NEAR_ZERO).to(weight))
    return like_input(near.flatten(-2).mean(dim=-1), weights)


def mean_cosines(weights: Tensor, means: Tensor) -> Tensor:
    """Cosine between each class's weight and its class mean.

    Args:
        weights: (..., C, P).
        means: (C, P).

    Returns:
        (..., C) in [-1, 1]; 0 if either is zero; nan for a class without a mean.

    Raises:
        ValueError: The shapes do not fit.

    Source: ours, for "the weights align with the class centers" (harmonic-loss paper §5).
    """
    return like_input(_cosines(*_checked(weights, means)), weights)


def mean_correlations(weights: Tensor, means: Tensor) -> Tensor:
    """Pearson correlation, over pixels, between each class's weight and its class mean.

    Unlike the cosine it is independent of brightness: a mean image is nowhere negative and has a
    cosine of 0.4 to 0.6 with uniform gray.

    Args:
        weights: (..., C, P).
        means: (C, P).

    Returns:
        (..., C) in [-1, 1]; 0 if either is constant; nan for a class without a mean.

    Raises:
        ValueError: The shapes do not fit.

    Source: as :func:`mean_cosines`.
    """
    weight, mean = _checked(weights, means)
    return like_input(_cosines(_shape_of(weight), _shape_of(mean)), weights)


def own_mean_fraction(weights: Tensor, means: Tensor, *, scale_free: bool = False) -> Tensor:
    """Fraction of the classes whose weight is nearer to its own class mean than to any other's.

    Args:
        weights: (..., C, P).
        means: (C, P).
        scale_free: Compare by correlation instead of Euclidean distance, by which a weight half as
            large as its mean may be nearer to another mean of small norm.

    Returns:
        (...) in [0, 1], over the classes that have a mean; nan if none has. Ties do not count.

    Raises:
        ValueError: The shapes do not fit.

    Source: as :func:`mean_cosines`.
    """
    weight, mean = _checked(weights, means)
    known = mean.isfinite().all(dim=-1)  # (C,)
    if scale_free:
        rows, columns = _unit(_shape_of(weight)), _unit(_shape_of(mean))
        far = -(rows @ columns.mT)  # (..., C, C), entry c, k: of weight c to mean k
    else:
        far = torch.cdist(weight, mean, compute_mode="donot_use_mm_for_euclid_dist")
    own = far.diagonal(dim1=-2, dim2=-1)  # (..., C)
    is_other = ~torch.eye(len(mean), dtype=torch.bool, device=mean.device) & known
    nearest_other = torch.where(is_other, far, torch.inf).amin(dim=-1)
    nearer = torch.where(own.isnan(), torch.nan, (own < nearest_other).to(far))
    return like_input(nearer[..., known].mean(dim=-1), weights)


def _checked(weights: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64; a class mean with a nan is all nan."""
    weight = as_points(weights, "weights")
    check_points(means, "means")
    if means.dim() != 2 or means.shape != weight.shape[-2:]:
        raise ValueError(
            f"means must be {tuple(weight.shape[-2:])} as the weights of one model are, "
            f"got {tuple(means.shape)}."
        )
    mean = means.detach().to(weight)
    return weight, mean.where(mean.isfinite().all(dim=-1, keepdim=True), torch.nan)


def _shape_of(images: Tensor) -> Tensor:
    """Images (..., P) minus their mean; constant images give exact zeros."""
    images = images - images[..., :1]
    return images - images.mean(dim=-1, keepdim=True)


def _unit(images: Tensor) -> Tensor:
    """Images (..., P) scaled to length 1; zeros stay zero."""
    length = images.norm(dim=-1, keepdim=True)
    return torch.where(length == 0, 0.0, images / length)


def _cosines(one: Tensor, other: Tensor) -> Tensor:
    return (_unit(one) * _unit(other)).sum(dim=-1)
