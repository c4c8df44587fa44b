"""Spherical softmax: a class's probability goes with the square of its inner product."""

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
    loss family" (2016). As logits: log(o_v² + eps). Only directions matter, and not their signs: x
    and -x have the same distribution, which does not change either when x is scaled, as long as eps
    is small beside o². Where o_v is 0 the gradient is as well: such a class waits for another push.

    Products are taken in float32 or better, whatever the precision of the run, since the logits'
    slope 2 o/(o² + eps) is steepest where o is small and rounding large beside it.

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
            raise ValueError(f"eps is {eps}; it must be positive")
        self.eps = float(eps)

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            dtype = torch.promote_types(features.dtype, torch.float32)
            outputs = F.linear(features.to(dtype), self.weight.to(dtype))[..., : self.num_classes]
            return torch.log(outputs.square() + self.eps)  # (..., C)

    def extra_repr(self) -> str:
        held = f"eps={self.eps:g}" if isinstance(self.eps, float) else "eps of each member"
        return f"{super().extra_repr()}, {held}"
