"""SAFR's interaction term: tokens that attend to one another should attend alike."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lightning_modules.regularizers._checks import Form, check_form, check_mask, in_float32

# So many weights at a time stay in a core's cache: 1.8 times as fast at T = 256 with 8 heads.
_CACHED = 1 << 20


def interaction(attention: Tensor, mask: Tensor, form: Form = "masked") -> Tensor:
    """A_ij (1 − overlap of A_i and A_j), over pairs of tokens and heads, A_i being a row of A.

    Args:
        attention: (B, heads, T, T) attention weights, row i being what token i looks at.
        mask: (B, T) bool, true on real tokens.
        form: ``code`` has the overlap A_i · A_j, 0 for i = j, and takes the mean over (B, heads, T,
            T), padding included: more padding makes it smaller. ``masked`` is the same over the n
            real tokens of each text, divided by n², averaged over heads and texts. ``paper`` has
            the overlap (A_i · A_j)² for i = j too, over real tokens divided by n², and adds over
            the heads.

    Returns:
        Scalar, float64 if the weights are, float32 otherwise. Rows of A add up to 1, so that a head
        has at most 1/n on a text of n tokens: a weight of 1 hardly moves anything. A row without
        real tokens counts as a text with 0.

    Raises:
        ValueError: the form does not exist, or ``mask`` is not bool or does not fit the weights.

    Source: SAFR paper §3, "Interaction-Based Regularization"; ``code`` as the authors' program has.
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
    """Σ_ij A_ij (1 − overlap), with its gradient at once: while the overlaps are in the cache.

    Autograd by itself would keep four tensors of the weights' size for each of them, and take
    three products instead of two.
    """

    @staticmethod
    def forward(ctx: Any, attention: Tensor, squared: bool) -> Tensor:
        """Sums (B, H) of weights (B, H, T, T); the overlap is squared, or leaves out i = j."""
        # Autocast may halve the time of the products, the term's hot path; all else is float32.
        overlap = (attention @ attention.mT).to(attention.dtype)
        moved = attention * overlap if squared else attention.clone()  # by overlaps, up to signs
        if squared:
            overlap, moved = overlap.square_(), moved.mul_(2.0)
        else:
            for values in (overlap, moved):
                values.diagonal(dim1=-2, dim2=-1).zero_()
        rest = overlap.neg_().add_(1.0)
        sums = (attention * rest).sum(dim=(-2, -1))
        if ctx.needs_input_grad[0]:
            # Σ_j A_ij O_ij changes with row i, and with every row j that i is compared with.
            pull = (moved + moved.mT) @ attention
            ctx.save_for_backward(rest.sub_(pull.to(attention.dtype)))
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Of the weights."""
        (slope,) = ctx.saved_tensors
        return gradient[..., None, None] * slope, None
