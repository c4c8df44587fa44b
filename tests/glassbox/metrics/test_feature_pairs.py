"""The cosine between partners, on pairs whose angle is known."""

from __future__ import annotations

import math

import pytest
import torch

from glassbox.metrics import pair_cosine


def test_cosines_of_pairs_at_known_angles_whatever_their_lengths():
    angles = torch.tensor([0.3, 0.3, 0.3, 0.3 + math.pi, 0.3, 0.3 + math.pi / 2, 0.0, 1.0])
    lengths = torch.tensor([1.0, 0.2, 3.0, 1.0, 1.0, 1e-9, 1.0, 1.0])
    weights = lengths[:, None] * torch.stack([angles.cos(), angles.sin()], -1)
    expected = [1.0, -1.0, 0.0, math.cos(1.0)]
    assert pair_cosine(weights).tolist() == pytest.approx(expected, abs=1e-6)
    assert pair_cosine(torch.stack([weights, -weights])).shape == (2, 4)


def test_a_pair_with_a_zero_row_has_no_angle():
    found = pair_cosine(torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]))
    assert found[0].isnan() and found[1] == 1.0


def test_an_odd_number_of_features_is_refused():
    with pytest.raises(ValueError, match="has 3 rows"):
        pair_cosine(torch.zeros(3, 2))
