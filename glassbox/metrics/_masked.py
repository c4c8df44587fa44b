"""Helpers for padded texts: checked masks, float32 or better, the highest scores of a row."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor


def check_mask(mask: Tensor, shape: torch.Size) -> None:
    """Raise a ValueError if the mask of real tokens is not boolean or has another shape."""
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool (true on real tokens), got {mask.dtype}.")
    if mask.shape != shape:
        raise ValueError(
            f"mask must have one entry per token, shape {tuple(shape)}, "
            f"got shape {tuple(mask.shape)}."
        )


def check_percent(percent: float, name: str = "percent") -> None:
    """Check a percentage of words to delete.

    Args:
        percent: k of "the top k % of the words".
        name: Name of the option, for the error message.

    Raises:
        ValueError: It is not in [0, 100).
    """
    if not 0 <= percent < 100:  # nan is refused too
        raise ValueError(
            f"{name} is {percent}; it must be at least 0 (no word) and below 100 (all words)."
        )


def floor_percent(percent: float, numbers: Tensor) -> Tensor:
    """floor(percent / 100 · n) for every n, exactly; percent is rounded to one part in a million.

    In floating point 29 % of 100 words would be 28, since 0.29 · 100 is 28.999….
    """
    fraction = Fraction(float(percent)).limit_denominator(1_000_000) / 100
    return numbers * fraction.numerator // fraction.denominator


def highest(scores: Tensor, candidates: Tensor, number: Tensor) -> Tensor:
    """The ``number`` (B,) candidates of each row with the highest scores (B, N), as a mask (B, N).

    Earlier candidates win ties. Scores that are not candidates may have any value (infinite, nan).
    """
    by_score = scores.argsort(dim=1, descending=True, stable=True)
    # Candidates first, regardless of other scores; stable, which keeps their order.
    chosen = candidates.gather(1, by_score).byte().argsort(dim=1, descending=True, stable=True)
    order = by_score.gather(1, chosen)
    places = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    return torch.zeros_like(candidates).scatter_(1, order, places < number[:, None])


def in_float32(values: Tensor) -> Tensor:
    """``values`` in float32; float64 is kept."""
    return values if values.dtype == torch.float64 else values.float()
