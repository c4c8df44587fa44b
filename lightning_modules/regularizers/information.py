"""VMASK's own term, which SAFR leaves out: how sure the mask is of each word."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_modules.regularizers._checks import check_mask, in_float32


def information(
    probability: Tensor, mask: Tensor, num_tokens: Tensor | int | None = None
) -> Tensor:
    """Mean over real tokens of p log p + q log q, with q = 1 − p: minus the mask's entropy.

    Lowering it pulls every p towards 1/2. Below 1.2e-7 (float32) the logarithm stays what it is
    there, so that at p = 0 and 1 the term is 0 and its gradient finite, pointing inwards.

    Args:
        probability: (B, T), p of keeping a word.
        mask: (B, T) bool, true on real tokens.
        num_tokens: What the sum is divided by; the number of real tokens if None. With several
            ranks the global batch's tokens per rank, so that averaged gradients are exact.

    Returns:
        Scalar in [−log 2, 0] nats; float64 if the probabilities are, float32 otherwise.

    Raises:
        ValueError: ``mask`` is not bool or of another shape.

    Source: Chen and Ji 2020 (VMASK), the variational bound with a uniform prior.
    """
    check_mask(mask, probability.shape)
    p = in_float32(probability).masked_fill(~mask, 0.0)
    q = 1 - p
    least = torch.finfo(p.dtype).eps
    terms = p * p.clamp_min(least).log() + q * q.clamp_min(least).log()
    return terms.sum() / (mask.sum().clamp_min(1) if num_tokens is None else num_tokens)
