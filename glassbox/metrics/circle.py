"""Circularity of an embedding of modular addition, and the order of the tokens on the circle.

The two are independent: tokens on a circle in any order are perfectly circular, but only the right
order computes addition.
"""

import torch
from torch import Tensor

from glassbox.metrics._tensors import as_points, like_input
from glassbox.metrics.explained_variance import principal_components

# An axis shorter than this fraction of the other is rounding error (float32 resolves 6e-8).
_FLAT = 1e-6


def circularity(points: Tensor) -> Tensor:
    """Coefficient of variation of the radii in the plane of the first two principal components.

    Each axis of that plane is first scaled to [0, 1], so an ellipse counts as a circle. The extent
    of p equally spaced points along an axis depends on their rotation, so a perfect p-gon gives
    slightly more than 0: at most about 0.0005 for p = 31.

    Args:
        points: (..., V, E) embeddings, E at least 2.

    Returns:
        (...) standard deviation (population) over mean of the distances to the centroid: 0 for a
        perfect circle or ellipse, about 0.5 for a Gaussian cloud, 0.6 for equal steps on a line; it
        can exceed 1. Points that all coincide give nan. float32, or float64 for
        float64 points.

    Raises:
        ValueError: ``points`` is not a floating-point (..., V, E) with E at least 2.

    Source: the authors' circle metric (``crystal_metric.py``); not reported in the paper.
    """
    plane = principal_components(as_points(points), 2)
    low, high = plane.aminmax(dim=-2, keepdim=True)
    extent = high - low
    flat = extent <= _FLAT * extent.amax(dim=-1, keepdim=True)
    scaled = torch.where(flat, 0.0, (plane - low) / extent)
    radii = (scaled - scaled.mean(dim=-2, keepdim=True)).norm(dim=-1)
    return like_input(radii.std(dim=-1, correction=0) / radii.mean(dim=-1), points)


def circular_order(points: Tensor) -> tuple[Tensor, Tensor]:
    """How well the angles of the tokens follow ``f * token mod p``, and the best such ``f``.

    With angle_j the angle of token j about the centroid in the plane of the first two principal
    components, the score is the largest |mean_j exp(i (angle_j - 2 pi f j / p))| over the
    frequencies f = 1..(p-1)//2 and both directions of travel. These means are the discrete Fourier
    transform of exp(i angle_j), which gives all of them at once. Radii play no role.

    Args:
        points: (..., p, E) embeddings in the order of the tokens, p at least 3, E at least 2.

    Returns:
        score (...) in [0, 1]: 1 if the tokens follow the circle in equal steps of f (several share
        a place if f shares a factor with p); 0, up to rounding, if all coincide.
        The chance level is well above 0, because the best of many frequencies counts: median 0.36,
        99 % below 0.50, for 31 tokens in random order. float32, or float64 for float64 points.
        frequency (...) int64, the best f; meaningless where the score is nan.

    Raises:
        ValueError: ``points`` is not a floating-point (..., p, E) with p at least 3, E at least 2.

    Source: ours; it measures the order that the paper's Figures 2 and 4 show by labels.
    """
    cloud = as_points(points)
    modulus = cloud.shape[-2]
    if modulus < 3:
        raise ValueError(f"circular_order needs at least 3 points, got {modulus}.")
    plane = principal_components(cloud, 2)
    angle = torch.atan2(plane[..., 1], plane[..., 0])
    spectrum = torch.fft.fft(torch.polar(torch.ones_like(angle), angle), norm="forward").abs()
    highest = (modulus - 1) // 2
    forward = spectrum[..., 1 : highest + 1]
    backward = spectrum[..., modulus - highest :].flip(-1)
    score, index = torch.maximum(forward, backward).max(dim=-1)
    return like_input(score, points), (index + 1).to(points.device)
