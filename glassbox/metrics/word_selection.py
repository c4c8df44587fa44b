"""Which tokens of a text count as important, by VMASK's probability that they are kept."""

from __future__ import annotations

import torch
from torch import Tensor

from glassbox.metrics._masked import check_mask, check_percent, floor_percent, highest, in_float32

PADDING = 0  # the token at padding


def word_scores(scores: Tensor, words: Tensor) -> Tensor:
    """Mean score of each word's tokens.

    Args:
        scores: (B, T) of tokens; what stands at padding is not read.
        words: (B, T) int64, the word of each token, -1 at padding.

    Returns:
        (B, W), W being the number of words of the longest text, at least 1; -inf where a text has
        no such word. float64 if the scores are, float32 otherwise.
    """
    scores = in_float32(scores)
    size = max(1, int(words.max()) + 1)
    column = words + 1  # padding gathers in column 0
    total = scores.new_zeros(len(words), size + 1).scatter_add_(1, column, scores)
    number = torch.zeros_like(total).scatter_add_(1, column, torch.ones_like(scores))
    total, number = total[:, 1:], number[:, 1:]
    return (total / number.clamp_min(1)).masked_fill(number == 0, -torch.inf)


def top_words(scores: Tensor, words: Tensor, percent: float, lowest: bool = False) -> Tensor:
    """The floor(percent / 100 · n) words with the highest scores of each text of n words.

    Of words with equal scores the earlier is taken first.

    Args:
        scores: (B, W) of words, as of :func:`word_scores`; random numbers give the control.
        words: (B, T) int64, the word of each token, -1 at padding.
        percent: At least 0, which takes no word (the start of a sweep over k), and below 100.
        lowest: Take as many with the lowest scores instead.

    Returns:
        (B, W) bool.

    Raises:
        ValueError: ``percent`` is outside [0, 100).

    Source: SAFR paper §4, S̃(k); floor is our definition (the paper does not tell), and rounding
    otherwise moves a score by up to 2.6 points.
    """
    check_percent(percent)
    there = _words_there(words, scores.shape[1])
    return highest(-scores if lowest else scores, there, floor_percent(percent, there.sum(dim=1)))


def without_words(
    tokens: Tensor, words: Tensor, mask: Tensor, deleted: Tensor, unknown: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The texts without some of their words: the gaps are closed, and what is left moves up.

    A text that loses everything keeps one ``unknown`` token, which is its word 0; a row that was
    padding only stays padding.

    Args:
        tokens: (B, T) int64.
        words: (B, T) int64, the word of each token, -1 at padding.
        mask: (B, T) bool, true on real tokens.
        deleted: (B, W) bool, as of :func:`top_words`.
        unknown: Token of an emptied text.

    Returns:
        tokens, words (counted from 0 again) and mask, (B, T') each: T' is the length of the longest
        text that is left, at least 1.

    Raises:
        ValueError: ``mask`` is not bool or not of the shape of the tokens.
    """
    check_mask(mask, tokens.shape)
    in_word = words.clamp_min(0)
    kept = mask & ~((words >= 0) & deleted.gather(1, in_word))
    left = (_words_there(words, deleted.shape[1]) & ~deleted).cumsum(dim=1) - 1  # new numbers
    numbered = torch.where(words >= 0, left.gather(1, in_word), -1)

    length = kept.sum(dim=1)
    longest = max(1, int(length.max()))
    # Each kept token to its place, the others to a column that is cut off.
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


def _words_there(words: Tensor, size: int) -> Tensor:
    """(B, size) bool: which words a text has."""
    there = torch.zeros(len(words), size + 1, dtype=torch.bool, device=words.device)
    return there.scatter_(1, words + 1, True)[:, 1:]


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
