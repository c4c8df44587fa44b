"""Which tokens of a text count as important, by VMASK's probability that they are kept."""

from __future__ import annotations

from torch import Tensor

from callbacks.metrics._masked import check_mask, check_percent, floor_percent, highest


def important_words(probability: Tensor, mask: Tensor, percent: float = 30) -> Tensor:
    """The max(1, floor(percent / 100 · n)) most probable of the n real tokens of each text.

    Of tokens with equal probability the earlier is taken first.

    Args:
        probability: (B, T); what stands at padding is not read.
        mask: (B, T) bool, true on real tokens.
        percent: At least 0, which leaves the one most probable token, and below 100.

    Returns:
        (B, T) bool, false at padding; a row without real tokens has none.

    Raises:
        ValueError: ``percent`` is outside [0, 100), or ``mask`` is not bool or of another shape.

    Source: SAFR paper §5, "Average Capacity Across the Vocabulary" (Table 3, top 30 %); the floor,
    and at least one token a text, are our definition.
    """
    check_percent(percent)
    check_mask(mask, probability.shape)
    length = mask.sum(dim=1)
    number = floor_percent(percent, length).clamp_min(1).minimum(length)
    return highest(probability, mask, number)
