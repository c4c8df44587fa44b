"""Spherical softmax: a class's probability is proportional to its squared inner product."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.heads.base import LossHead


class SphericalSoftmaxHead(LossHead):
    """Log-spherical softmax: p_v proportional to o_v² + eps, o_v = w_v · x, without a bias.

    De Brébisson and Vincent, "An exploration of softmax alternatives belonging to the spherical
    loss family" (2016). The logits are log(o_v² + eps). The distribution does not change with the
    sign of x nor, while eps is small compared with o², with its length. A class with o_v = 0 gets
    no gradient.

    Products are computed in float32 or better whatever the precision of the run: the slope of the
    logits, 2 o/(o² + eps), is steepest where o is small and its rounding error relatively large.

    Args:
        in_features: Width of the features.
        num_classes: Number of classes.
        eps: Added to every square. It bounds the slope of a logit by 1/sqrt(eps).

    Raises:
        ValueError: eps is not positive.
    """

    member_settings: ClassVar[frozenset[str]] = frozenset({"eps"})

    def __init__(self, in_features: int, num_classes: int, eps: float = 1e-4) -> None:
        super().__init__(in_features, num_classes)
        if not 0 < eps < math.inf:
            raise ValueError(f"eps is {eps}; it must be positive and finite")
        self.eps = float(eps)

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            dtype = torch.promote_types(features.dtype, torch.float32)
            outputs = F.linear(features.to(dtype), self.weight.to(dtype))[..., : self.num_classes]
            return torch.log(outputs.square() + self.eps)  # (..., C)
