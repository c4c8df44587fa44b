import math

import pytest
import torch

from glassbox.metrics import important_words

LENGTHS = torch.tensor([1, 3, 10, 20, 0])
MASK = torch.arange(20) < LENGTHS[:, None]


def _probability() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 5, MASK.shape, generator=generator) / 4  # many ties, 0 and 1 too


@pytest.mark.parametrize("percent", [0, 5, 30, 50, 99])
def test_they_are_the_first_of_a_sort_with_ties_to_the_earlier_and_at_least_one(percent):
    probability = _probability()
    result = important_words(probability, MASK, percent)
    for b, n in enumerate(LENGTHS.tolist()):
        order = sorted(range(n), key=lambda t, b=b: (-float(probability[b, t]), t))
        chosen = order[: max(1, math.floor(percent * n / 100))]
        assert result[b].nonzero().flatten().tolist() == sorted(chosen)


def test_thirty_percent_unless_told_otherwise():
    assert important_words(_probability(), MASK).sum(dim=1).tolist() == [1, 1, 3, 6, 0]


def test_padding_is_not_read():
    probability = _probability()
    broken = probability.masked_fill(~MASK, torch.nan)
    assert torch.equal(important_words(probability, MASK), important_words(broken, MASK))


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="percent is 100"):
        important_words(_probability(), MASK, 100)
    with pytest.raises(ValueError, match="mask must be bool"):
        important_words(_probability(), MASK.float())
