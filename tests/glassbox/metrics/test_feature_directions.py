"""Measures of features' directions, at the polytopes whose values are known by hand."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from glassbox.metrics import (
    basis_alignment,
    basis_sparsity,
    dimensions_per_feature,
    feature_count,
    feature_dimensionality,
    feature_interference,
    feature_norms,
    pair_cosine,
    priority_correlation,
    represented_features,
    top_priority_fraction,
)
from tests.helpers.noise import noise

PER_FEATURE = [feature_norms, feature_interference, feature_dimensionality, basis_alignment]
PER_MEMBER = [represented_features, feature_count, dimensions_per_feature]
MEASURES = PER_FEATURE + PER_MEMBER


def _polygon(corners: int) -> Tensor:
    angle = 2 * torch.pi * torch.arange(corners, dtype=torch.float64) / corners
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def _antiprism() -> Tensor:
    """Two squares turned by 45 degrees, at the height that spreads them evenly over 3 axes."""
    angle = torch.pi / 4 * torch.arange(8, dtype=torch.float64)
    height = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(4)
    flat = torch.stack([angle.cos(), angle.sin()], dim=-1) * math.sqrt(2 / 3)
    return torch.cat([flat, height[:, None] / math.sqrt(3)], dim=-1)


TETRAHEDRON = torch.tensor(
    [[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64
) / math.sqrt(3)
DIGON = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
POLYTOPES = [
    pytest.param(torch.eye(4, dtype=torch.float64), 1.0, id="orthogonal"),
    pytest.param(TETRAHEDRON, 3 / 4, id="tetrahedron"),
    pytest.param(_polygon(3), 2 / 3, id="triangle"),
    pytest.param(DIGON, 1 / 2, id="digon"),
    pytest.param(_polygon(5), 2 / 5, id="pentagon"),
    pytest.param(_antiprism(), 3 / 8, id="square antiprism"),
]


def _rotation(size: int) -> Tensor:
    return torch.linalg.qr(noise(size, size))[0]


@pytest.mark.parametrize(("weights", "fraction"), POLYTOPES)
@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e6])
def test_dimensionality_at_the_polytopes_of_toy_models(weights, fraction, scale):
    result = feature_dimensionality(scale * weights)
    torch.testing.assert_close(result, torch.full_like(result, fraction), rtol=1e-12, atol=0)


def test_polytopes_in_orthogonal_subspaces_are_independent():
    weights = torch.block_diag(3.0 * DIGON, 0.2 * _polygon(3), _polygon(5), torch.eye(1).double())
    expected = torch.tensor([1 / 2] * 2 + [2 / 3] * 3 + [2 / 5] * 5 + [1.0]).double()
    result = feature_dimensionality(weights @ _rotation(6))
    torch.testing.assert_close(result, expected)
    assert result.sum().item() == pytest.approx(6, rel=1e-12)  # the rank


def test_metrics_agree_with_the_formulas_feature_by_feature():
    weights = noise(7, 3)
    rows = weights.tolist()

    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    square = [dot(row, row) for row in rows]
    overlap = [[dot(a, b) ** 2 / dot(a, a) for b in rows] for a in rows]
    expected = {
        feature_norms: [s**0.5 for s in square],
        feature_interference: [sum(o) - s for o, s in zip(overlap, square, strict=True)],
        feature_dimensionality: [s / sum(o) for o, s in zip(overlap, square, strict=True)],
        basis_alignment: [max(x * x for x in row) / s for row, s in zip(rows, square, strict=True)],
        represented_features: sum(s > 0.25 for s in square),
        feature_count: sum(square),
        dimensions_per_feature: 3 / sum(square),
    }
    assert set(expected) == set(MEASURES)
    for measure, values in expected.items():
        torch.testing.assert_close(measure(weights), torch.tensor(values, dtype=torch.float64))


def test_represented_features_are_strictly_above_the_threshold():
    weights = torch.diag(torch.tensor([0.0, 0.5, 0.51, 1.0]))
    assert represented_features(weights) == 2
    assert represented_features(weights, threshold=0.0) == 3
    assert represented_features(weights, threshold=1.0) == 0


def test_zero_row():
    weights = torch.cat([_polygon(5), torch.zeros(1, 2).double()])
    for measure in PER_FEATURE:
        result = measure(weights)
        assert result[5] == 0
        torch.testing.assert_close(result[:5], measure(_polygon(5)))
    assert dimensions_per_feature(torch.zeros(3, 2)) == torch.inf


def test_alignment_is_one_on_a_neuron_and_smallest_on_all_equally():
    weights = torch.tensor([[0.0, -3.0, 0.0], [1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [2.0, 1.0, 1.0]])
    torch.testing.assert_close(basis_alignment(weights), torch.tensor([1, 1 / 3, 1 / 2, 2 / 3]))
    torch.testing.assert_close(basis_alignment(1e-30 * weights), basis_alignment(weights))


def test_sparsity_is_the_fraction_of_neurons_without_a_feature():
    rows = [[0.0, -3.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [1.0, -1.0, 0.04, 0.0], [0.0] * 4]
    weights = torch.tensor(rows)
    expected = torch.tensor([3 / 4, 0.0, 1 / 2, 0.0])
    torch.testing.assert_close(basis_sparsity(weights), expected)
    torch.testing.assert_close(basis_sparsity(1e-30 * weights), expected)
    # An entry of a random direction in 5 dimensions has the density (3/4)(1 - x²), whose integral
    # from -0.05 to 0.05 this is.
    random = basis_sparsity(torch.randn(100_000, 5, generator=torch.Generator().manual_seed(0)))
    assert random.mean().item() == pytest.approx(1.5 * (0.05 - 0.05**3 / 3), abs=1e-3)


@pytest.mark.parametrize("threshold", [-0.1, math.nan])
def test_threshold_out_of_range_raises(threshold):
    with pytest.raises(ValueError, match="threshold"):
        represented_features(torch.ones(3, 2), threshold)


def test_cosines_of_pairs_at_known_angles_whatever_their_lengths():
    angles = torch.tensor([0.3, 0.3, 0.3, 0.3 + math.pi, 0.3, 0.3 + math.pi / 2, 0.0, 1.0])
    lengths = torch.tensor([1.0, 0.2, 3.0, 1.0, 1.0, 1e-9, 1.0, 1.0])
    weights = lengths[:, None] * torch.stack([angles.cos(), angles.sin()], -1)
    expected = [1.0, -1.0, 0.0, math.cos(1.0)]
    assert pair_cosine(weights).tolist() == pytest.approx(expected, abs=1e-6)
    assert pair_cosine(torch.stack([weights, -weights])).shape == (2, 4)


def test_a_pair_with_a_zero_row_has_no_angle():
    cosines = pair_cosine(torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]))
    assert cosines[0].isnan() and cosines[1] == 1.0


def test_odd_number_of_features_raises():
    with pytest.raises(ValueError, match="weights"):
        pair_cosine(torch.zeros(3, 2))


def test_priority_correlation_matches_scipy():
    torch.manual_seed(1)
    weights, priority = torch.randn(4, 9, 3), torch.rand(4, 9).round(decimals=1)  # with ties
    counts = torch.rand(4, 9) < 0.6
    counts[2:] = torch.tensor([[True], [False]])
    correlation = priority_correlation(weights, priority, counts)
    for member in range(3):
        own = feature_dimensionality(weights)[member][counts[member]]
        expected = spearmanr(priority[member][counts[member]], own).statistic
        assert correlation[member].item() == pytest.approx(expected, abs=1e-6)
    assert correlation[3].isnan()
    torch.testing.assert_close(priority_correlation(weights, priority)[2], correlation[2])


def test_top_priority_fraction_treats_ties_as_equal():
    represented = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0]]).bool()
    priority = torch.tensor([[4.0, 3, 2, 1], [4, 3, 2, 1], [4, 3, 2, 1], [1, 1, 1, 1]])
    fraction = top_priority_fraction(represented, priority).tolist()
    assert fraction == pytest.approx([1.0, 0.5, math.nan, 1.0], nan_ok=True)
