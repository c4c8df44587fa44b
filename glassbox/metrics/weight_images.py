"""Weights that are images: are those of dark pixels zero, and does a class's look like its mean?

Weights of a layer on the pixels are ``(..., C, P)``, one row per class (or a hidden unit), one column
a pixel; class means are ``(C, P)``. A class without a mean (a row of nan) takes no part; weights
that are not all finite give nan.
"""

import torch
from torch import Tensor

from glassbox.metrics._tensors import as_points, check_points, like_input


def border_pixels(rows: int, columns: int, border: int = 4) -> Tensor:
    """Which pixels of an image lie less than ``border`` pixels from an edge.

    MNIST's digits were scaled into 20 × 20 pixels, and then placed in 28 × 28 by their center of
    mass: a frame of four pixels holds 3.3 % of its ink on half of its area.

    Args:
        rows: Of the image.
        columns: Of the image.
        border: Width of the frame in pixels; all pixels are in it where it leaves no inside.

    Returns:
        (rows · columns,) bool, row by row from the top left.

    Raises:
        ValueError: A number is below 1.
    """
    if min(rows, columns, border) < 1:
        raise ValueError(
            f"rows, columns and border are {rows}, {columns} and {border}; each must be at least 1."
        )
    frame = torch.ones(rows, columns, dtype=torch.bool)
    frame[border : max(border, rows - border), border : max(border, columns - border)] = False
    return frame.flatten()


def near_zero_fraction(
    weights: Tensor, pixels: Tensor | None = None, limit: float = 0.01
) -> Tensor:
    """Fraction of the weights of some pixels that lie within ``limit`` of zero.

    Args:
        weights: (..., C, P).
        pixels: (P,) bool, those that are looked at; None for all.
        limit: 0.01 in the paper, whose image however shows w < 0.01, large negative weights too.

    Returns:
        (...) in [0, 1]; nan where no pixel is chosen.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., C, P), or ``pixels`` does not fit.

    Source: harmonic-loss paper §5 and the caption of Figure 5.
    """
    weight = as_points(weights, "weights")
    if pixels is not None:
        if pixels.dtype != torch.bool or pixels.shape != weight.shape[-1:]:
            raise ValueError(
                f"pixels must be ({weight.shape[-1]},) of bool, got {tuple(pixels.shape)} of "
                f"{pixels.dtype}."
            )
        weight = weight[..., pixels.to(weight.device)]
    # A comparison with nan is false, and would count as a weight that is far from zero.
    near = torch.where(weight.isnan(), torch.nan, (weight.abs() < limit).to(weight))
    return like_input(near.flatten(-2).mean(dim=-1), weights)


def mean_cosines(weights: Tensor, means: Tensor) -> Tensor:
    """Cosine between each class's weight and its class mean.

    Args:
        weights: (..., C, P).
        means: (C, P).

    Returns:
        (..., C) in [-1, 1]; 0 where either has no length; nan of a class without a mean.

    Raises:
        ValueError: The shapes do not fit.

    Source: ours, for "the weights align with the class centers" (harmonic-loss paper §5).
    """
    return like_input(_cosines(*_checked(weights, means)), weights)


def mean_correlations(weights: Tensor, means: Tensor) -> Tensor:
    """Pearson correlation, over pixels, between each class's weight and its class mean.

    It tells likeness of shape, since it knows neither brightness nor contrast: a mean image is
    nowhere negative, and has a cosine of 0.4 to 0.6 with an even gray.

    Args:
        weights: (..., C, P).
        means: (C, P).

    Returns:
        (..., C) in [-1, 1]; 0 where either is an even gray; nan of a class without a mean.

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
        scale_free: Take the mean with the highest correlation for the nearest, instead of that at
            the least Euclidean distance: a weight that is half as large as its mean may lie nearer
            to a faint other one.

    Returns:
        (...) in [0, 1], over the classes that have a mean; nan where none has. A tie is not nearer.

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
    found = torch.where(own.isnan(), torch.nan, (own < nearest_other).to(far))
    return like_input(found[..., known].mean(dim=-1), weights)


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
    """Images (..., P) minus their mean gray; an even gray gives exact zeros."""
    images = images - images[..., :1]
    return images - images.mean(dim=-1, keepdim=True)


def _unit(images: Tensor) -> Tensor:
    """Images (..., P) at length 1, or 0."""
    length = images.norm(dim=-1, keepdim=True)
    return torch.where(length == 0, 0.0, images / length)


def _cosines(one: Tensor, other: Tensor) -> Tensor:
    return (_unit(one) * _unit(other)).sum(dim=-1)
