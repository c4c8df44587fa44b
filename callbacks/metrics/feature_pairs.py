"""Whether the two features of a pair lie in one direction, in opposite ones, or apart."""

import torch
from torch import Tensor

from callbacks.metrics._tensors import as_points, like_input


def pair_cosine(weights: Tensor) -> Tensor:
    """cos(W_2k, W_2k+1), between the directions of the partners of each pair.

    Args:
        weights: (..., N, H), a row a feature, N even; features 2k and 2k + 1 are a pair.

    Returns:
        (..., N/2) in [-1, 1]: 1 side by side, 0 orthogonal, -1 antipodal; nan where either row is
        zero, which has no direction, or not finite. float32, or float64 for float64 weights.

    Raises:
        ValueError: ``weights`` is not a floating-point (..., N, H), or N is odd.

    Source: ours, for "Correlated and anticorrelated features" of Elhage et al. 2022: correlated
    partners prefer to be orthogonal and otherwise side by side, anti-correlated ones antipodal.
    """
    cloud = as_points(weights, "weights")
    if cloud.shape[-2] % 2:
        raise ValueError(f"weights has {cloud.shape[-2]} rows; features in pairs are even.")
    first, second = cloud[..., 0::2, :], cloud[..., 1::2, :]
    lengths = torch.linalg.vector_norm(first, dim=-1) * torch.linalg.vector_norm(second, dim=-1)
    cosine = ((first * second).sum(dim=-1) / lengths).clamp(-1, 1)  # 0/0 is nan
    return like_input(cosine, weights)
