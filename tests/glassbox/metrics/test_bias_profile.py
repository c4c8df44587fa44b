"""The bias profile of autoencoders."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glassbox.metrics import bias_profile


def test_profile_is_mean_negative_fraction_and_standard_deviation_of_each_member():
    bias = torch.randn(2, 3, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    bias[0, 0, 0] = 0.0  # is not negative
    profile, values = bias_profile(bias), bias.numpy()
    np.testing.assert_allclose(profile.mean, values.mean(-1))
    np.testing.assert_allclose(profile.negative_fraction, (values < 0).mean(-1))
    np.testing.assert_allclose(profile.std, values.std(-1))


@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_a_diverged_member_is_nan_and_the_others_are_not(value):
    bias = torch.full((2, 4), -1.0)
    bias[0, 1] = value
    for number in bias_profile(bias):
        assert number.isnan().tolist() == [True, False]


def test_values_that_are_not_biases_raise():
    for wrong in (torch.tensor(1.0), torch.zeros(3, 0), torch.zeros(3, dtype=torch.int64)):
        with pytest.raises(ValueError, match="bias"):
            bias_profile(wrong)
