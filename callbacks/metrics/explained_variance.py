"""Principal components: how few directions hold an embedding, and the picture in the first ones.

The harmonic-loss paper's Figure 3(a) plots the cumulative shares, and every picture of an embedding
(Figures 2, 4, 7) is a plot of the first two components.
"""

import torch
from torch import Tensor

from callbacks.metrics._tensors import as_points, centred, like_input


def _spectrum(cloud: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (..., E), descending, and eigenvectors (..., E, E) of a centred cloud.

    LAPACK raises on a nan and takes the whole batch with it, hence the detour through zeros.
    """
    covariance = cloud.mT @ cloud / cloud.shape[-2]
    finite = covariance.isfinite().all(dim=-1).all(dim=-1)[..., None]
    values, vectors = torch.linalg.eigh(covariance.where(finite[..., None], 0.0))
    values = values.flip(-1).clamp_min(0.0).where(finite, torch.nan)
    return values, vectors.flip(-1).where(finite[..., None], torch.nan)


def explained_variance(points: Tensor) -> Tensor:
    """Share of the variance that each principal component holds.

    Args:
        points: (..., V, E) embeddings; they are centred here.

    Returns:
        (..., E) shares in [0, 1], descending, which sum to 1; float32, or float64 for float64
        points. 1 in the first place means that all points lie on one line. From place V on they
        are zero, because V points span at most V - 1 directions. Points that all coincide have no
        variance to share and give zeros.

    Raises:
        ValueError: ``points`` is not a floating-point (..., V, E).

    Source: scikit-learn's ``explained_variance_ratio_``, as in the authors' ``variances``.
    """
    values, _ = _spectrum(centred(as_points(points)))
    total = values.sum(dim=-1, keepdim=True)
    return like_input(torch.where(total == 0, 0.0, values / total), points)


def cumulative_explained_variance(points: Tensor) -> Tensor:
    """Share of the variance that the first 1, 2, ..., E principal components hold together.

    Args:
        points: (..., V, E) embeddings.

    Returns:
        (..., E), ascending, in [0, 1]: entry 1 is the "EV" printed over the paper's pictures.
        A last entry of 0 instead of 1 means that all points coincide. Same dtype rule as
        :func:`explained_variance`.

    Raises:
        ValueError: ``points`` is not a floating-point (..., V, E).

    Source: harmonic-loss paper, Figure 3(a).
    """
    shares = explained_variance(as_points(points))
    return like_input(shares.cumsum(dim=-1).clamp_max(1.0), points)


def principal_components(points: Tensor, num_components: int = 2) -> Tensor:
    """Coordinates of the centred points along their first principal components.

    Eigenvectors have no sign of their own. Here the loading that is largest in magnitude is made
    positive, so a picture does not flip between runs or devices. Components of equal variance (a
    perfect circle) still leave the rotation within their plane open.

    Args:
        points: (..., V, E) embeddings.
        num_components: k, how many components to keep, 1 to E.

    Returns:
        (..., V, k) coordinates in the units of ``points``, not whitened; float32, or float64 for
        float64 points. Column i has the i-th largest variance.

    Raises:
        ValueError: ``points`` is not a floating-point (..., V, E), or ``num_components`` is not in
            1..E.
    """
    cloud = centred(as_points(points))
    if not 1 <= num_components <= cloud.shape[-1]:
        raise ValueError(
            f"num_components must be between 1 and the {cloud.shape[-1]} features of the points, "
            f"got {num_components}."
        )
    _, vectors = _spectrum(cloud)
    vectors = vectors[..., :num_components]
    strongest = vectors.abs().argmax(dim=-2, keepdim=True)
    sign = torch.where(vectors.gather(-2, strongest) < 0, -1.0, 1.0)
    return like_input(cloud @ (vectors * sign), points)
