"""The losses of fused heads in float64: all differences x - w are formed, gradients are autograd's.

loss = log(1 + sum over the other classes i of e_i/e_c), which subtracts no large numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.heads.fused.losses import fused_cross_entropy, fused_harmonic

WIDTH, CLASSES, TOKENS = 24, 90, 11
EPS = 1e-10
FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]

each_loss = pytest.mark.parametrize("name", ["cross_entropy", "harmonic"])


# ---- the losses ----------------------------------------------------------------------------------


def others_only(values: Tensor, targets: Tensor, fill: float) -> Tensor:
    """``values`` (N, C) with each row's target replaced."""
    is_target = torch.arange(values.shape[1]) == targets[:, None]
    return torch.where(is_target, torch.tensor(fill, dtype=values.dtype), values)


def exact_cross_entropy(
    x: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None = None
) -> Tensor:
    """(N,) losses: log(1 + sum over the others of exp(logit_i - logit_c))."""
    logits = x @ weight.T
    if bias is not None:
        logits = logits + bias
    own = logits.gather(1, targets[:, None])
    odds = others_only(logits - own, targets, -math.inf).logsumexp(dim=1)
    return torch.logaddexp(torch.zeros_like(odds), odds)


def exact_harmonic(
    x: Tensor, weight: Tensor, targets: Tensor, exponent: float, eps: float = EPS
) -> Tensor:
    """(N,) losses: log(1 + sum over the others of (d_c²/d_i²)^(n/2))."""
    squared = (x[:, None] - weight).square().sum(dim=-1) + eps  # (N, C)
    own = squared.gather(1, targets[:, None])
    odds = (own / others_only(squared, targets, 1.0)).pow(exponent / 2)
    return others_only(odds, targets, 0.0).sum(dim=1).log1p()


def reference(
    losses: Callable[..., Tensor],
    x: Tensor,
    weight: Tensor,
    targets: Tensor,
    *rest: Tensor | float,
) -> list[Tensor]:
    """Mean loss and the gradients of every tensor with one, by autograd in float64."""
    leaves = [x, weight, *(value for value in rest if isinstance(value, torch.Tensor))]
    leaves = [leaf.detach().double().requires_grad_(True) for leaf in leaves]
    rest = tuple(leaves[2] if isinstance(value, torch.Tensor) else value for value in rest)
    loss = losses(leaves[0], leaves[1], targets, *rest).mean()
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


def exact_by_name(
    name: str, x: Tensor, weight: Tensor, targets: Tensor, exponent: float = 4.0
) -> list[Tensor]:
    """Mean loss and the gradients of features and weight, of the loss of this name."""
    if name == "cross_entropy":
        return reference(exact_cross_entropy, x, weight, targets)
    return reference(exact_harmonic, x, weight, targets, exponent)


# ---- the fused losses ---------------------------------------------------------------------------


def loss_by_name(
    name: str, targets: Tensor, exponent: float = 4.0, **options
) -> Callable[[Tensor, Tensor], Tensor]:
    """A fused loss as a function of features and weight."""
    if name == "cross_entropy":
        return lambda x, weight: fused_cross_entropy(x, weight, targets, **options)
    return lambda x, weight: fused_harmonic(x, weight, targets, exponent, EPS, **options)


def evaluate(loss_of: Callable[..., Tensor], *leaves: Tensor) -> list[Tensor]:
    """Loss and the gradients of fresh copies of ``leaves``."""
    copies = [leaf.detach().clone().requires_grad_(True) for leaf in leaves]
    loss = loss_of(*copies)
    return [loss.detach(), *torch.autograd.grad(loss, copies)]


def relative_error(got: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of the expected value."""
    return ((got.double() - expected).norm() / expected.norm()).item()


def assert_close(got: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """That the relative error of each tensor is within ``tolerance``."""
    for value, exact in zip(got, expected, strict=True):
        assert relative_error(value, exact) <= tolerance


# ---- inputs --------------------------------------------------------------------------------------


def cloud(
    width: int = WIDTH, classes: int = CLASSES, tokens: int = TOKENS, seed: int = 3
) -> tuple[Tensor, Tensor, Tensor]:
    """Features (N, E) and weights (C, E) of norm about 1, and targets (N,)."""
    rng = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, width, generator=rng) / math.sqrt(width)
    x = torch.randn(tokens, width, generator=rng) / math.sqrt(width)
    return x, weight, torch.randint(classes, (tokens,), generator=rng)


def near(weight: Tensor, centers: Tensor, distance: float, seed: int = 4) -> Tensor:
    """Features at a distance from given centers (N,)."""
    rng = torch.Generator().manual_seed(seed)
    away = torch.randn(len(centers), weight.shape[1], generator=rng)
    return weight[centers] + distance * F.normalize(away, dim=-1)


def bias_of(classes: int = CLASSES) -> Tensor:
    """A bias (C,), always the same."""
    return torch.randn(classes, generator=torch.Generator().manual_seed(5))
