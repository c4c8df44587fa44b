"""Priority of features against scipy, and hand-made choices."""

import math

import pytest
import torch
from scipy.stats import spearmanr

from glassbox.metrics import priority_correlation, top_priority_fraction
from glassbox.metrics.feature_directions import feature_dimensionality


def test_correlation_is_scipys_of_the_dimensionalities():
    torch.manual_seed(0)
    weights, priority = torch.randn(4, 9, 3), torch.rand(4, 9).round(decimals=1)
    found = priority_correlation(weights, priority)
    for member in range(4):
        expected = spearmanr(priority[member], feature_dimensionality(weights)[member]).statistic
        assert found[member].item() == pytest.approx(expected, abs=1e-6)


def test_features_that_do_not_count_have_no_part_in_the_correlation():
    torch.manual_seed(1)
    weights, priority = torch.randn(4, 9, 3), torch.rand(4, 9)
    counts = torch.rand(4, 9) < 0.6
    counts[3] = False
    found = priority_correlation(weights, priority, counts)
    for member in range(3):
        own = feature_dimensionality(weights)[member][counts[member]]
        expected = spearmanr(priority[member][counts[member]], own).statistic
        assert found[member].item() == pytest.approx(expected, abs=1e-6)
    assert found[3].isnan()


def test_it_is_one_for_clean_directions_in_order_and_nan_without_an_order():
    # Alone; in a pair that leans together; in one that is the same direction; not there.
    weights = torch.tensor([[[1.0, 0, 0], [0, 1, 0.2], [0, 0.2, 1], [0, 0.2, 0.8], [0, 0, 0]]])
    order = feature_dimensionality(weights)[0].argsort().argsort().float()
    assert priority_correlation(weights, order[None]).item() == pytest.approx(1.0)
    assert priority_correlation(weights, -order[None]).item() == pytest.approx(-1.0)
    assert priority_correlation(weights, torch.ones(1, 5)).isnan().all()


def test_share_of_the_most_important_counts_ties_as_equals():
    represented = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0]]).bool()
    priority = torch.tensor([[4.0, 3, 2, 1], [4, 3, 2, 1], [4, 3, 2, 1], [1, 1, 1, 1]])
    found = top_priority_fraction(represented, priority).tolist()
    assert found[:2] == [1.0, 0.5] and math.isnan(found[2]) and found[3] == 1.0
