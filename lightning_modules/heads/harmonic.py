"""Harmonic loss: a class is a point, and its probability falls as a power of the distance to it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.heads.base import LossHead, masked_mean
from lightning_modules.heads.fused.losses import fused_harmonic

# Up to this many weights, of features no wider than this, every difference x - w is formed: exact,
# and at such sizes as fast as a matrix product. Above, (tokens, classes, width) would not fit, or
# cost ten times a product (MNIST's pixels, twenty seeds: 5.6 ms a step and seed against 0.6).
_DIRECT_LIMIT, _WIDEST_DIRECT = 8192, 64


class HarmonicHead(LossHead):
    """Harmonic unembedding: p_v proportional to d_v^-n with d_v = |w_v - x|.

    Harmonic-loss paper §3, equations 3 and 4, in log space: logits_v = -(n/2) log(d_v^2 + eps). The
    rows of ``weight`` are the class centers, and the loss is least when x lies on its own.

    The exponent stands on the *distance*, as in the paper. The authors' code raises the squared
    distance, so that its n is half of this one: their algorithmic models have exponent 2 here.

    Up to 8,192 weights and 64 wide every distance is exact. Above, those to the target and to the
    nearest other center are; if several further centers lie within a hundredth of |x|, they are
    known to a percent or so. Distances are taken in float32 or better, whatever the precision of
    the run, but for the further centers of a fused loss (``heads/fused.py``) under bfloat16.

    Args:
        in_features: Width of the features.
        num_classes: Number of classes.
        exponent: Harmonic exponent n on the distance; None means sqrt(in_features), the paper's
            advice (§3).
        eps: Added to every squared distance. It bounds the gradient near a wrong center by
            n/(2 sqrt(eps)), and it sets the least loss that can be reached, about the sum over the
            other centers of (eps/d^2)^(n/2). The authors' code for the algorithmic tasks has 1e-4.
        fused: Form the loss chunk by chunk without storing the logits (``heads/fused.py``); null
            does so above 4,096 classes.

    Raises:
        ValueError: The exponent or eps is not a positive number.
    """

    is_distance_based = True
    member_settings = frozenset({"exponent", "eps"})

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
            raise ValueError(f"exponent is {exponent}; it must be positive, or null for √width")
        if not 0 < eps < math.inf:
            raise ValueError(f"eps is {eps}; it must be positive (the authors' code has 1e-4)")
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
        if self.uses_fused_loss():
            return fused_harmonic(
                features,
                self.weight,
                targets,
                self.exponent,
                self.eps,
                self.num_classes,
                ignore_index,
            )
        counted = targets != ignore_index
        target = torch.where(counted, targets, 0).unsqueeze(-1)  # (..., 1)
        with torch.autocast(features.device.type, enabled=False):
            x, centers = self.in_float32(features)
            squared = squared_distances(x, centers)  # (..., C)
            is_target = torch.arange(self.num_classes, device=x.device) == target  # (..., C)
            if not forms_differences(centers):
                others = torch.where(is_target, torch.inf, squared)
                nearest_other = others.argmin(dim=-1, keepdim=True)
                squared = _with_exact_distance(squared, x, centers, nearest_other)
                squared = _with_exact_distance(squared, x, centers, target)
            logits = self._logits(squared)
            target_logit = logits.gather(-1, target)  # (..., 1)
            # -log p_c = log(1 + sum over the others of p_v/p_c). Written with softplus, a loss of
            # 1e-12 is a loss of 1e-12; log-sum-exp over all classes would round it to 0.
            odds = torch.where(is_target, -torch.inf, logits - target_logit)
            return masked_mean(F.softplus(odds.logsumexp(dim=-1)), counted)

    def extra_repr(self) -> str:
        settings = ((name, getattr(self, name)) for name in ("exponent", "eps"))
        held = (
            f"{k}={v:g}" if isinstance(v, float) else f"{k} of each member" for k, v in settings
        )
        return ", ".join([super().extra_repr(), *held])

    def _logits(self, squared: Tensor) -> Tensor:
        return torch.log(squared + self.eps) * (-0.5 * self.exponent)


def forms_differences(centers: Tensor) -> bool:
    """Whether every difference between a feature and a center (C, E) is formed."""
    return centers.numel() <= _DIRECT_LIMIT and centers.shape[-1] <= _WIDEST_DIRECT


def squared_distances(x: Tensor, centers: Tensor) -> Tensor:
    """Squared Euclidean distance of every feature to every center.

    Small products are formed by differences. Large ones by |x|^2 + |w|^2 - 2 x.w, which loses its
    digits where x is near w: the caller mends the distances that matter.

    Args:
        x: (..., E).
        centers: (C, E).

    Returns:
        (..., C), never negative.
    """
    if forms_differences(centers):
        return (x.unsqueeze(-2) - centers).square().sum(dim=-1)
    # The norm, squared again, takes a tenth of the time of a (C, E) tensor of squares.
    center_norms = torch.linalg.vector_norm(centers, dim=-1).square()
    norms = x.square().sum(dim=-1, keepdim=True) + center_norms
    return (norms - 2.0 * (x @ centers.mT)).clamp_min(0.0)


def _with_exact_distance(squared: Tensor, x: Tensor, centers: Tensor, index: Tensor) -> Tensor:
    """``squared`` (..., C) with the entries at ``index`` (..., 1) recomputed as sum (w - x)^2."""
    # Not centers[index], whose gradient takes longer: 0.58 ms a loss of MNIST's pixels, 0.51 so.
    own = F.embedding(index.squeeze(-1), centers)  # (..., E)
    exact = (x - own).square().sum(dim=-1, keepdim=True)  # (..., 1)
    chosen = torch.arange(centers.shape[0], device=x.device) == index  # (..., C)
    return torch.where(chosen, exact, squared)
