"""Selection of the words or tokens of a text with the highest scores, and their deletion."""

from __future__ import annotations

import torch
from torch import Tensor

from glassbox.metrics._masked import check_mask, check_percent, floor_percent, highest, in_float32

PADDING = 0  # token id


def word_scores(scores: Tensor, words: Tensor) -> Tensor:
    """Mean score of each word's tokens.

    Args:
        scores: (B, T) of tokens; padding is not read.
        words: (B, T) int64, the word of each token, -1 at padding.

    Returns:
        (B, W), W the number of words of the longest text, at least 1; -inf where a text has fewer
        words. float64 if the scores are, float32 otherwise.
    """
    scores = in_float32(scores)
    size = max(1, int(words.max()) + 1)
    column = words + 1  # padding gathers in column 0
    total = scores.new_zeros(len(words), size + 1).scatter_add_(1, column, scores)
    number = torch.zeros_like(total).scatter_add_(1, column, torch.ones_like(scores))
    total, number = total[:, 1:], number[:, 1:]
    return (total / number.clamp_min(1)).masked_fill(number == 0, -torch.inf)


def top_words(scores: Tensor, words: Tensor, percent: float, lowest: bool = False) -> Tensor:
    """Mask of the floor(percent / 100 · n) words with the highest scores in a text of n words.

    Earlier words win ties.

    Args:
        scores: (B, W) of words, from :func:`word_scores`, or random numbers as a control.
        words: (B, T) int64, the word of each token, -1 at padding.
        percent: In [0, 100).
        lowest: Select the same number of words with the lowest scores instead.

    Returns:
        (B, W) bool.

    Raises:
        ValueError: ``percent`` is outside [0, 100).

    Source: SAFR paper §4, S̃(k). The paper does not define the rounding, which changes a score by
    up to 2.6 points; floor is our choice.
    """
    check_percent(percent)
    existing = _existing_words(words, scores.shape[1])
    return highest(
        -scores if lowest else scores, existing, floor_percent(percent, existing.sum(dim=1))
    )


def without_words(
    tokens: Tensor, words: Tensor, mask: Tensor, deleted: Tensor, unknown: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Delete words from texts and close the gaps.

    A text without remaining words keeps one ``unknown`` token as its word 0; a row of padding only
    is unchanged.

    Args:
        tokens: (B, T) int64.
        words: (B, T) int64, the word of each token, -1 at padding.
        mask: (B, T) bool, true on real tokens.
        deleted: (B, W) bool, from :func:`top_words`.
        unknown: Token of an emptied text.

    Returns:
        tokens, words (renumbered from 0) and mask, (B, T') each, T' the length of the longest
        remaining text, at least 1.

    Raises:
        ValueError: ``mask`` is not bool, or its shape differs from that of the tokens.
    """
    check_mask(mask, tokens.shape)
    in_word = words.clamp_min(0)
    kept = mask & ~((words >= 0) & deleted.gather(1, in_word))
    left = (_existing_words(words, deleted.shape[1]) & ~deleted).cumsum(dim=1) - 1  # new numbers
    numbered = torch.where(words >= 0, left.gather(1, in_word), -1)

    length = kept.sum(dim=1)
    longest = max(1, int(length.max()))
    # Kept tokens move to their place, the others to a column that is cut off.
    place = torch.where(kept, kept.cumsum(dim=1) - 1, longest)
    shape = (len(tokens), longest + 1)
    new_tokens = tokens.new_full(shape, PADDING).scatter_(1, place, tokens)[:, :longest]
    new_words = words.new_full(shape, -1).scatter_(1, place, numbered)[:, :longest]
    emptied = (length == 0) & mask.any(dim=1)
    new_tokens[:, 0] = torch.where(emptied, unknown, new_tokens[:, 0])
    new_words[:, 0] = torch.where(emptied, 0, new_words[:, 0])
    length = torch.where(emptied, 1, length)
    new_mask = torch.arange(longest, device=tokens.device) < length[:, None]
    return new_tokens, new_words, new_mask


def _existing_words(words: Tensor, size: int) -> Tensor:
    """(B, size) bool, which words each text has."""
    existing = torch.zeros(len(words), size + 1, dtype=torch.bool, device=words.device)
    return existing.scatter_(1, words + 1, True)[:, 1:]


def important_words(probability: Tensor, mask: Tensor, percent: float = 30) -> Tensor:
    """Mask of the max(1, floor(percent / 100 · n)) most probable of n real tokens of each text.

    Earlier tokens win ties.

    Args:
        probability: (B, T), such as VMASK's that a token is kept; padding is not read.
        mask: (B, T) bool, true on real tokens.
        percent: In [0, 100); 0 selects the most probable token.

    Returns:
        (B, T) bool, false at padding.

    Raises:
        ValueError: ``percent`` is outside [0, 100), or ``mask`` is not bool or of another shape.

    Source: SAFR paper §5, "Average Capacity Across the Vocabulary" (Table 3, top 30 %); floor
    and the minimum of one token are our choice.
    """
    check_percent(percent)
    check_mask(mask, probability.shape)
    length = mask.sum(dim=1)
    number = floor_percent(percent, length).clamp_min(1).minimum(length)
    return highest(probability, mask, number)
