"""How much attention each token of a text receives."""

from __future__ import annotations

from torch import Tensor

from glassbox.metrics._masked import check_mask, in_float32


def received_attention(attention_weights: Tensor, mask: Tensor) -> Tensor:
    """Attention to each token, summed over the real tokens that attend to it, averaged over heads.

    Args:
        attention_weights: (B, heads, T, T), row i what token i attends to (rows sum to 1).
        mask: (B, T) bool, true on real tokens.

    Returns:
        (B, T), 0 at padding; sums to n over the n real tokens of a text. float64 if the weights
        are, float32 otherwise.

    Raises:
        ValueError: ``mask`` is not bool or does not fit the weights.
    """
    check_mask(mask, attention_weights[:, 0, 0].shape)
    real = mask[:, :, None] & mask[:, None, :]  # (B, T, T), from and to
    mean = in_float32(attention_weights).mean(dim=1)  # (B, T, T)
    return mean.masked_fill(~real, 0.0).sum(dim=1)
