"""Principal components of an embedding: explained variance, and coordinates in the first ones.

The harmonic-loss paper plots cumulative fractions in Figure 3(a), and the first two components in
Figures 2, 4 and 7.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from glassbox.metrics._tensors import as_points, centered, check_points, like_input

ROWS = 8192  # of a vocabulary in float64 at once


class Projection(NamedTuple):
    """A vocabulary in its first principal components."""

    coordinates: Tensor  # (..., V, k), centered, in the units of the points
    scale: Tensor  # (...), root mean square length of the coordinates
    fractions: Tensor  # (..., k), of the variance in each component


def _spectrum(cloud: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (..., E), descending, and eigenvectors (..., E, E) of a centered cloud."""
    return _eigen(cloud.mT @ cloud / cloud.shape[-2])


def _eigen(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (..., E), descending, and eigenvectors (..., E, E) of covariances (..., E, E).

    A nan would make LAPACK raise for the whole batch, so such members are computed as zeros.
    """
    finite = covariance.isfinite().all(dim=-1).all(dim=-1)[..., None]
    values, vectors = torch.linalg.eigh(covariance.where(finite[..., None], 0.0))
    values = values.flip(-1).clamp_min(0.0).where(finite, torch.nan)
    return values, vectors.flip(-1).where(finite[..., None], torch.nan)


def explained_variance(points: Tensor) -> Tensor:
    """Fraction of the variance in each principal component.

    Args:
        points: (..., V, E) embeddings; they are centered here.

    Returns:
        (..., E) fractions in [0, 1], descending, which sum to 1; float32, or float64 for float64
        points. A first entry of 1 means that all points lie on one line. From entry V on they are
        zero, because V points span at most V - 1 directions. Points that all coincide have no
        variance and give zeros.

    Raises:
        ValueError: ``points`` is not a floating-point (..., V, E).

    Source: scikit-learn's ``explained_variance_ratio_``, as in the authors' ``variances``.
    """
    values, _ = _spectrum(centered(as_points(points)))
    total = values.sum(dim=-1, keepdim=True)
    return like_input(torch.where(total == 0, 0.0, values / total), points)


def cumulative_explained_variance(points: Tensor) -> Tensor:
    """Fraction of the variance in the first 1, 2, ..., E principal components together.

    Args:
        points: (..., V, E) embeddings.

    Returns:
        (..., E), ascending, in [0, 1]: entry 1 is the "EV" above the paper's pictures.
        A last entry of 0 instead of 1 means that all points coincide. Same dtype rule as
        :func:`explained_variance`.

    Raises:
        ValueError: ``points`` is not a floating-point (..., V, E).

    Source: harmonic-loss paper, Figure 3(a).
    """
    fractions = explained_variance(as_points(points))
    return like_input(fractions.cumsum(dim=-1).clamp_max(1.0), points)


def principal_components(points: Tensor, num_components: int = 2) -> Tensor:
    """Coordinates of the centered points along their first principal components.

    The sign of an eigenvector is arbitrary; here its loading of largest magnitude is positive, so
    that pictures do not flip between runs or devices. Components of equal variance (a perfect
    circle) are determined up to a rotation within their plane.

    Args:
        points: (..., V, E) embeddings.
        num_components: k, number of components, 1 to E.

    Returns:
        (..., V, k) coordinates in the units of ``points``, not whitened; float32, or float64 for
        float64 points. Column i has the i-th largest variance.

    Raises:
        ValueError: ``points`` is not a floating-point (..., V, E), or ``num_components`` is not in
            1..E.
    """
    cloud = centered(as_points(points))
    _check_components(num_components, cloud)
    _, vectors = _spectrum(cloud)
    return like_input(cloud @ _signed(vectors[..., :num_components]), points)


def project_vocabulary(points: Tensor, num_components: int | None = 2) -> Projection:
    """Coordinates of a large vocabulary in its first principal components, block by block.

    Equal to :func:`principal_components`, but computed from the E x E covariance of row blocks, so
    that a vocabulary of 50,257 rows is never in float64 as a whole. Unlike a randomized
    decomposition, it is exact.

    Args:
        points: (..., V, E) embeddings; they are centered here.
        num_components: k, number of components, 1 to E; None keeps the whole space, not rotated.

    Returns:
        Coordinates, their root mean square length and the fraction of variance in each component;
        float32, or float64 for float64 points. nan for a cloud that is not all finite.

    Raises:
        ValueError: ``points`` is not a floating-point (..., V, E), or ``num_components`` is not in
            1..E.
    """
    check_points(points)
    source = points.detach()
    if source.device.type == "mps":  # Apple's GPUs have no float64
        source = source.cpu()
    if num_components is not None:
        _check_components(num_components, source)
    rows, origin = source.shape[-2], source[..., :1, :].double()
    # Relative to the first row, so that equal points give exact zeros (as in `centered`).
    total = sum((block.double() - origin).sum(-2) for block in source.split(ROWS, -2))
    center = origin + (total / rows).unsqueeze(-2)  # (..., 1, E)
    covariance = torch.zeros(*source.shape[:-2], *[source.shape[-1]] * 2).to(center)
    for block in source.split(ROWS, -2):
        cloud = block.double() - center
        covariance += cloud.mT @ cloud / rows
    values, vectors = _eigen(covariance)
    fractions = values / values.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    if num_components is None:
        # A cloud that is not finite must be nan in all of its points.
        kept = torch.eye(source.shape[-1]).to(vectors).where(vectors.isfinite(), torch.nan)
    else:
        kept = _signed(vectors[..., :num_components])
    values, fractions = values[..., :num_components], fractions[..., :num_components]
    blocks = [like_input((b.double() - center) @ kept, points) for b in source.split(ROWS, -2)]
    coordinates, scale = torch.cat(blocks, dim=-2), values.sum(-1).sqrt()
    return Projection(coordinates, like_input(scale, points), like_input(fractions, points))


def _check_components(number: int, points: Tensor) -> None:
    if not 1 <= number <= points.shape[-1]:
        raise ValueError(
            f"num_components must be between 1 and the {points.shape[-1]} features of the points, "
            f"got {number}."
        )


def _signed(vectors: Tensor) -> Tensor:
    """Eigenvectors (..., E, k) with their largest loading positive."""
    strongest = vectors.abs().argmax(dim=-2, keepdim=True)
    return vectors * torch.where(vectors.gather(-2, strongest) < 0, -1.0, 1.0)
