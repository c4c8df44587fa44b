from __future__ import annotations

import math

import pytest
import torch

from glassbox.metrics import check_percent, important_words, top_words, without_words, word_scores

UNKNOWN = 1


def _texts(seed: int = 0, rows: int = 12) -> tuple[torch.Tensor, ...]:
    """Tokens, words of one to three tokens each, and mask of texts of 1 to 9 words."""
    generator = torch.Generator().manual_seed(seed)
    lists = []
    for _ in range(rows):
        number = int(torch.randint(1, 10, (), generator=generator))
        sizes = torch.randint(1, 4, (number,), generator=generator)
        lists.append(torch.arange(number).repeat_interleave(sizes).tolist())
    width = max(map(len, lists))
    words = torch.tensor([row + [-1] * (width - len(row)) for row in lists])
    mask = words >= 0
    tokens = torch.randint(2, 100, words.shape, generator=generator) * mask
    return tokens, words, mask


def _scores(words: torch.Tensor, seed: int = 1) -> torch.Tensor:
    """With many ties."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 4, words.shape, generator=generator).double()


def _groups(row: list[int]) -> list[list[int]]:
    """Positions of each word's tokens."""
    return [[t for t, word in enumerate(row) if word == w] for w in range(max(row) + 1)]


def test_word_score_is_the_mean_over_tokens_and_minus_infinity_for_missing_words():
    _, words, mask = _texts()
    scores = _scores(words)
    scores[~mask] = torch.nan
    result = word_scores(scores, words)
    expected = torch.full_like(result, -torch.inf)
    for b, row in enumerate(words.tolist()):
        for w, places in enumerate(_groups(row)):
            expected[b, w] = sum(float(scores[b, t]) for t in places) / len(places)
    assert result.shape == (12, int(words.max()) + 1)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("lowest", [False, True])
@pytest.mark.parametrize("percent", [0, 29, 33.4, 99.9])
def test_top_words_match_a_stable_sort(percent, lowest):
    _, words, _ = _texts()
    scores = word_scores(_scores(words), words)
    result = top_words(scores, words, percent, lowest=lowest)
    for b, row in enumerate(words.tolist()):
        n = max(row) + 1
        sign = 1 if lowest else -1
        order = sorted(range(n), key=lambda w, b=b, sign=sign: (sign * float(scores[b, w]), w))
        chosen = set(order[: math.floor(round(percent * 10) * n / 1000)])
        assert {w for w in range(result.shape[1]) if result[b, w]} == chosen


@pytest.mark.parametrize("percent", [0, 7, 28, 29, 57, 58, 99])
def test_the_number_of_words_is_the_exact_floor(percent):
    words = torch.arange(100)[None]  # 0.29 * 100 is 28.999...
    assert top_words(torch.rand(1, 100), words, percent).sum() == percent


def test_words_with_infinite_scores_can_be_selected():
    words = torch.tensor([[0, 1, 2, 3], [0, 1, -1, -1]])
    scores = torch.full((2, 4), -torch.inf)
    for lowest in (False, True):
        assert top_words(scores, words, 50, lowest).tolist() == [
            [True, True, False, False],
            [True, False, False, False],
        ]


@pytest.mark.parametrize("value", [-1, 100, 130.5, math.nan, math.inf, -math.inf])
def test_percentage_out_of_range_raises(value):
    with pytest.raises(ValueError, match="percent"):
        top_words(torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.int64), value)
    with pytest.raises(ValueError, match="k is"):
        check_percent(value, "k")


@pytest.mark.parametrize("seed", range(3))
def test_deletion_matches_a_loop_over_texts(seed):
    tokens, words, mask = _texts(seed)
    width = int(words.max()) + 1
    deleted = torch.rand(12, width, generator=torch.Generator().manual_seed(seed)) < 0.7
    expected = []
    for b, row in enumerate(words.tolist()):
        text: list[tuple[int, int]] = []
        number = 0
        for w, places in enumerate(_groups(row)):
            if not deleted[b, w]:
                text += [(int(tokens[b, t]), number) for t in places]
                number += 1
        expected.append(text or [(UNKNOWN, 0)])
    length = max(map(len, expected))
    new_tokens, new_words, new_mask = without_words(tokens, words, mask, deleted, UNKNOWN)
    assert new_tokens.shape == new_words.shape == new_mask.shape == (12, length)
    for b, text in enumerate(expected):
        gap = length - len(text)
        assert new_tokens[b].tolist() == [token for token, _ in text] + [0] * gap
        assert new_words[b].tolist() == [word for _, word in text] + [-1] * gap
        assert new_mask[b].tolist() == [True] * len(text) + [False] * gap


def test_an_emptied_text_keeps_one_unknown_token_and_padding_is_unchanged():
    tokens = torch.tensor([[7, 8, 0], [9, 0, 0], [0, 0, 0]])
    words = torch.tensor([[0, 1, -1], [0, -1, -1], [-1, -1, -1]])
    deleted = torch.ones(3, 2, dtype=torch.bool)
    new = without_words(tokens, words, tokens > 0, deleted, unknown=5)
    assert [part.tolist() for part in new] == [
        [[5], [5], [0]],
        [[0], [0], [-1]],
        [[True], [True], [False]],
    ]


def test_a_token_outside_of_words_is_never_deleted():
    tokens = torch.tensor([[3, 7, 8, 4]])
    words = torch.tensor([[-1, 0, 1, -1]])
    deleted = torch.tensor([[True, False]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    new_tokens, new_words, new_mask = without_words(tokens, words, mask, deleted, UNKNOWN)
    assert new_tokens.tolist() == [[3, 8, 4]]
    assert new_words.tolist() == [[-1, 0, -1]]
    assert new_mask.all()


TEXT_LENGTHS = torch.tensor([1, 3, 10, 20, 0])
TEXT_MASK = torch.arange(20) < TEXT_LENGTHS[:, None]


def _probability() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 5, TEXT_MASK.shape, generator=generator) / 4  # many ties, 0 and 1 too


@pytest.mark.parametrize("percent", [0, 5, 30, 50, 99])
def test_important_words_match_a_sort_and_are_at_least_one(percent):
    probability = _probability()
    result = important_words(probability, TEXT_MASK, percent)
    for b, n in enumerate(TEXT_LENGTHS.tolist()):
        order = sorted(range(n), key=lambda t, b=b: (-float(probability[b, t]), t))
        chosen = order[: max(1, math.floor(percent * n / 100))]
        assert result[b].nonzero().flatten().tolist() == sorted(chosen)


def test_wrong_input_raises():
    with pytest.raises(ValueError, match="percent"):
        important_words(_probability(), TEXT_MASK, 100)
    with pytest.raises(ValueError, match="mask"):
        important_words(_probability(), TEXT_MASK.float())
