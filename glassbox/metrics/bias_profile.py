"""How negative and how uniform the biases of an autoencoder's outputs are."""

from typing import NamedTuple

import torch
from torch import Tensor

from glassbox.metrics._tensors import as_points, like_input


class BiasProfile(NamedTuple):
    """Each member's biases in three numbers."""

    mean: Tensor  # (...), in the units of the features
    negative_fraction: Tensor  # (...), fraction of the N biases that are below 0
    std: Tensor  # (...), population standard deviation; 0 if all are equal


def bias_profile(bias: Tensor) -> BiasProfile:
    """Mean, fraction of negative ones and standard deviation of the N biases of each member.

    Args:
        bias: (..., N), one bias per feature.

    Returns:
        Three tensors (...); float32, or float64 for a float64 bias. A member with a nan or an
        infinity is nan in all three.

    Raises:
        ValueError: ``bias`` is not floating point, or has no features.

    Source: feature-geometry paper, §7 and Figure 5, "uniformly negative bias".
    """
    if not bias.is_floating_point() or bias.dim() < 1 or bias.shape[-1] == 0:
        raise ValueError(
            f"bias must be floating point, (..., features) with at least one, "
            f"got {bias.dtype} of shape {tuple(bias.shape)}."
        )
    values = as_points(bias[..., None], "bias")[..., 0]
    negative = (values < 0).to(values).mean(dim=-1)
    profile = BiasProfile(
        mean=values.mean(dim=-1),
        negative_fraction=negative.where(values.isfinite().all(dim=-1), torch.nan),
        std=values.std(dim=-1, correction=0),
    )
    return BiasProfile(*(like_input(value, bias) for value in profile))
