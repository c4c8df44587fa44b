"""SAFR's interaction term: tokens that attend to one another should have similar attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from glassbox.metrics._masked import check_mask, in_float32
from lightning_modules.regularizers.importance import Form, check_form

# This number of weights fits into a core's cache, which almost halves the time on a CPU.
_CACHED = 1 << 20


def interaction(attention: Tensor, mask: Tensor, form: Form = "masked") -> Tensor:
    """Σ_ij A_ij (1 − overlap of A_i and A_j), with A_i a row of A, averaged over heads and texts.

    Args:
        attention: (B, heads, T, T) attention weights; row i is the attention of token i.
        mask: (B, T) bool, true on real tokens.
        form: ``code`` uses the overlap A_i · A_j, 0 for i = j, and the mean over (B, heads, T, T)
            including padding, which makes it smaller. ``masked`` is the same over the n real tokens
            of each text, divided by n². ``paper`` uses the overlap (A_i · A_j)², also for i = j,
            over real tokens, divided by n², and sums over the heads.

    Returns:
        Scalar, float64 if the weights are, float32 otherwise. Rows of A add up to 1, so a head has
        at most 1/n on a text of n tokens. A text without real tokens counts as 0.

    Raises:
        ValueError: The form is unknown, or ``mask`` is not bool or does not fit the weights.

    Source: SAFR paper §3, "Interaction-Based Regularization"; ``code`` as in the authors' program.
    """
    check_form(form)
    check_mask(mask, attention[:, 0, 0].shape)
    chunk = len(attention)
    if attention.device.type == "cpu":
        chunk = max(1, _CACHED // attention[0].numel())
    pieces = zip(attention.split(chunk), mask.split(chunk), strict=True)
    sums = torch.cat([_sums(weights, real, form) for weights, real in pieces])  # (B, H)
    length = mask.sum(dim=1).clamp_min(1)
    if form == "code":
        length = torch.full_like(length, attention.shape[-1])
    texts = sums / length.square()[:, None]
    return texts.sum(dim=1).mean() if form == "paper" else texts.mean()


def _sums(attention: Tensor, mask: Tensor, form: Form) -> Tensor:
    """Σ_ij of each text and head, (B, H)."""
    attention = in_float32(attention)
    if form != "code":
        real = mask[:, :, None] & mask[:, None, :]  # (B, T, T)
        attention = attention.masked_fill(~real[:, None], 0.0)
    sums: Tensor = _Sums.apply(attention, form == "paper")
    return sums


class _Sums(torch.autograd.Function):
    """Σ_ij A_ij (1 − overlap), with the gradient computed while the overlaps are in the cache.

    Autograd would keep four tensors of the weights' size and compute three products instead of two.
    """

    @staticmethod
    def forward(ctx: Any, attention: Tensor, squared: bool) -> Tensor:
        """Sums (B, H) of weights (B, H, T, T); the overlap is squared, or leaves out i = j."""
        # Autocast may round these products, which take most of the time; the rest is float32.
        overlap = (attention @ attention.mT).to(attention.dtype)
        # Minus the derivative of the sum with respect to the overlaps.
        slope = attention * overlap if squared else attention.clone()
        if squared:
            overlap, slope = overlap.square_(), slope.mul_(2.0)
        else:
            for values in (overlap, slope):
                values.diagonal(dim1=-2, dim2=-1).zero_()
        rest = overlap.neg_().add_(1.0)
        sums = (attention * rest).sum(dim=(-2, -1))
        if ctx.needs_input_grad[0]:
            # The overlap O_ij depends on both rows, i and j.
            through_overlaps = (slope + slope.mT) @ attention
            ctx.save_for_backward(rest.sub_(through_overlaps.to(attention.dtype)))
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Gradient of the weights."""
        (derivative,) = ctx.saved_tensors
        return gradient[..., None, None] * derivative, None
