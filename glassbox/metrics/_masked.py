"""What the measures of padded texts share: checked masks, float32 or better, the highest of a row.

A text is a row of tokens, of which ``mask`` says which are real; the others are padding.
"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor


def check_mask(mask: Tensor, shape: torch.Size) -> None:
    """Refuse a mask that would be misread.

    Raises:
        ValueError: the mask is not boolean, or not of this shape.
    """
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool (true on real tokens), got {mask.dtype}.")
    if mask.shape != shape:
        raise ValueError(
            f"mask must have one entry for each token, shape {tuple(shape)}, "
            f"got shape {tuple(mask.shape)}."
        )


def check_percent(percent: float, name: str = "percent") -> None:
    """Refuse a share of words that cannot be deleted.

    Args:
        percent: k of "the top k % of the words".
        name: What the number is called where the user wrote it.

    Raises:
        ValueError: it is not in [0, 100).
    """
    if not 0 <= percent < 100:  # nan is refused too
        raise ValueError(
            f"{name} is {percent}; it must be at least 0 (no word) and below 100 (every word)"
        )


def floor_percent(percent: float, numbers: Tensor) -> Tensor:
    """floor(percent / 100 · n) for every n, in whole numbers.

    In floating point 29 % of 100 words would be 28, since 0.29 · 100 is 28.999….

    Args:
        percent: In [0, 100); known to one part in a million.
        numbers: Any shape, int64.
    """
    share = Fraction(float(percent)).limit_denominator(1_000_000) / 100
    return numbers * share.numerator // share.denominator


def highest(scores: Tensor, candidates: Tensor, number: Tensor) -> Tensor:
    """The ``number`` candidates of each row with the highest scores; of equal ones the earlier.

    Args:
        scores: (B, N), of any value (infinite, nan) where there is no candidate.
        candidates: (B, N) bool.
        number: (B,) how many of each row, at most as many as there are candidates.

    Returns:
        (B, N) bool.
    """
    by_score = scores.argsort(dim=1, descending=True, stable=True)
    # Candidates first, whatever the others' scores; stable, so that the order among them stays.
    chosen = candidates.gather(1, by_score).byte().argsort(dim=1, descending=True, stable=True)
    order = by_score.gather(1, chosen)
    places = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    return torch.zeros_like(candidates).scatter_(1, order, places < number[:, None])


def in_float32(values: Tensor) -> Tensor:
    """``values`` in float32; float64 stays what it is."""
    return values if values.dtype == torch.float64 else values.float()
