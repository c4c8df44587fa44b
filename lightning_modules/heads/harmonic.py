"""Harmonic loss: a class's probability falls as a power of the distance to its center."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.heads.base import LossHead
from lightning_modules.heads.fused import fused_harmonic

# Up to this many weights and this width every difference x - w is formed: exact, and at such sizes
# as fast as a matrix product. For MNIST's 784 pixels it is ten times slower than a product, and for
# a vocabulary (tokens, classes, width) does not fit into memory.
_DIRECT_LIMIT, _WIDEST_DIRECT = 8192, 64


class HarmonicHead(LossHead):
    """Harmonic unembedding: p_v proportional to d_v^-n with d_v = |w_v - x|.

    Harmonic-loss paper §3, equations 3 and 4, in log space: logits_v = -(n/2) log(d_v^2 + eps). The
    rows of ``weight`` are the class centers, and the loss is least when x lies on its own.

    The exponent applies to the *distance*, as in the paper. The authors' code applies it to the
    squared distance, so its n is half of this one: their algorithmic models have exponent 2 here.

    Up to 8,192 weights and width 64 every distance is exact. Above, the distances to the target and
    to the nearest other center are; those to other centers within |x|/100 have an error of about
    1 %. Distances are computed in float32 or better whatever the precision of the run, except in a
    fused loss under bfloat16. Set ``torch.set_float32_matmul_precision("highest")`` (the default):
    TF32 products lose ten more bits.

    Args:
        in_features: Width of the features.
        num_classes: Number of classes.
        exponent: Harmonic exponent n on the distance; None means sqrt(in_features), as the paper
            recommends (§3).
        eps: Added to every squared distance. It bounds the gradient near a wrong center by
            n/(2 sqrt(eps)) and the loss from below by about the sum over the other centers of
            (eps/d^2)^(n/2). The authors' code for the algorithmic tasks uses 1e-4.
        fused: Compute the loss in chunks without storing the logits (``heads/fused``); null does so
            above 4,096 classes.

    Raises:
        ValueError: The exponent or eps is not positive and finite.
    """

    is_distance_based = True
    member_settings: ClassVar[frozenset[str]] = frozenset({"exponent", "eps"})

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        exponent: float | None = None,
        eps: float = 1e-10,
        fused: bool | None = None,
    ) -> None:
        super().__init__(in_features, num_classes)
        self.fused = fused
        if exponent is not None and not 0 < exponent < math.inf:
            raise ValueError(
                f"exponent is {exponent}; it must be positive and finite, or null for √width"
            )
        if not 0 < eps < math.inf:
            raise ValueError(f"eps is {eps}; it must be positive and finite")
        self.exponent = math.sqrt(in_features) if exponent is None else float(exponent)
        self.eps = float(eps)

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            x, centers = self.in_float32(features)
            squared = squared_distances(x, centers)  # (..., C)
            if not forms_differences(centers):
                nearest = squared.argmin(dim=-1, keepdim=True)  # (..., 1)
                squared = _with_exact_distance(squared, x, centers, nearest)
            return self._logits(squared)

    def loss(self, features: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
        if not self.uses_fused_loss():
            return super().loss(features, targets, ignore_index)
        return fused_harmonic(
            features,
            self.weight,
            targets,
            self.exponent,
            self.eps,
            self.num_classes,
            ignore_index,
        )

    def _logits_for_loss(self, features: Tensor, target: Tensor) -> Tensor:
        x, centers = self.in_float32(features)
        squared = squared_distances(x, centers)  # (..., C)
        if not forms_differences(centers):
            is_target = torch.arange(self.num_classes, device=x.device) == target  # (..., C)
            others = torch.where(is_target, torch.inf, squared)
            nearest_other = others.argmin(dim=-1, keepdim=True)
            squared = _with_exact_distance(squared, x, centers, nearest_other)
            squared = _with_exact_distance(squared, x, centers, target)
        return self._logits(squared)

    def _logits(self, squared: Tensor) -> Tensor:
        return torch.log(squared + self.eps) * (-0.5 * self.exponent)


def forms_differences(centers: Tensor) -> bool:
    """Whether every difference between a feature and a center (C, E) is formed."""
    return centers.numel() <= _DIRECT_LIMIT and centers.shape[-1] <= _WIDEST_DIRECT


def squared_distances(x: Tensor, centers: Tensor) -> Tensor:
    """Squared Euclidean distances (..., C) of features (..., E) to centers (C, E), never negative.

    Small problems by differences. Large ones by |x|^2 + |w|^2 - 2 x·w, which is imprecise where x
    is near w: the caller recomputes the distances that matter.
    """
    if forms_differences(centers):
        return (x.unsqueeze(-2) - centers).square().sum(dim=-1)
    # Squaring the norm avoids a (C, E) tensor of squares, which takes ten times as long.
    center_norms = torch.linalg.vector_norm(centers, dim=-1).square()
    norms = x.square().sum(dim=-1, keepdim=True) + center_norms
    return (norms - 2.0 * (x @ centers.mT)).clamp_min(0.0)


def _with_exact_distance(squared: Tensor, x: Tensor, centers: Tensor, index: Tensor) -> Tensor:
    """``squared`` (..., C) with the entries at ``index`` (..., 1) recomputed as sum (w - x)^2."""
    # F.embedding has a faster gradient than centers[index].
    chosen_centers = F.embedding(index.squeeze(-1), centers)  # (..., E)
    exact = (x - chosen_centers).square().sum(dim=-1, keepdim=True)  # (..., 1)
    chosen = torch.arange(centers.shape[0], device=x.device) == index  # (..., C)
    return torch.where(chosen, exact, squared)
