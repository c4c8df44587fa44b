"""The bias profile and the explained share of autoencoders."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glassbox.metrics import bias_profile, explained_fraction


def test_profile_is_mean_share_below_zero_and_population_spread_of_each_member():
    bias = torch.randn(2, 3, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    bias[0, 0, 0] = 0.0  # is not negative
    profile, values = bias_profile(bias), bias.numpy()
    np.testing.assert_allclose(profile.mean, values.mean(-1))
    np.testing.assert_allclose(profile.negative_share, (values < 0).mean(-1))
    np.testing.assert_allclose(profile.spread, values.std(-1))


def test_uniformly_negative_biases():
    profile = bias_profile(torch.full((5,), -0.25))
    assert [value.item() for value in profile] == [-0.25, 1.0, 0.0]
    assert all(value.dtype == torch.float32 for value in profile)
    assert bias_profile(torch.zeros(5)).negative_share == 0


@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_a_diverged_members_biases_are_nan_and_the_others_are_not(value):
    bias = torch.full((2, 4), -1.0)
    bias[0, 1] = value
    for number in bias_profile(bias):
        assert number.isnan().tolist() == [True, False]


def test_what_are_no_biases_is_refused():
    for wrong in (torch.tensor(1.0), torch.zeros(3, 0), torch.zeros(3, dtype=torch.int64)):
        with pytest.raises(ValueError, match="bias must be floating point"):
            bias_profile(wrong)


def test_share_is_one_for_a_copy_zero_for_silence_and_negative_for_worse():
    x = torch.rand(1000, 4, generator=torch.Generator().manual_seed(0))
    outputs = torch.stack([x, torch.zeros_like(x), -x])
    share = explained_fraction((x - outputs).square().mean(dim=(1, 2)), x.square().mean())
    torch.testing.assert_close(share, torch.tensor([1.0, 0.0, -3.0]))


@pytest.mark.parametrize("activity", [0.1, 0.5, 1.0])
def test_a_constant_output_at_the_mean_has_three_quarters_of_the_activity(activity):
    generator = torch.Generator().manual_seed(0)
    active, value = torch.rand(2, 400_000, dtype=torch.float64, generator=generator)
    x = value * (active < activity)
    share = explained_fraction((x - x.mean()).square().mean(), torch.tensor(activity / 3))
    assert share.item() == pytest.approx(3 / 4 * activity, abs=0.01)


def test_errors_and_moments_broadcast_and_must_be_numbers_with_a_point():
    assert explained_fraction(torch.ones(4, 1), torch.ones(3)).shape == (4, 3)
    with pytest.raises(ValueError, match="second_moment must be floating point"):
        explained_fraction(torch.ones(3), torch.ones(3, dtype=torch.int64))
