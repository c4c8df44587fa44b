"""Quantiles agree with NumPy's; a seed that never reaches a threshold counts as infinity."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from glassbox.metrics.quantiles import censored_quantile, quartiles


@pytest.mark.parametrize("count", [1, 2, 5])
def test_quantiles_of_numbers_agree_with_numpy(count):
    values = torch.randn(count, generator=torch.Generator().manual_seed(count)).tolist()
    logged = quartiles("x", torch.tensor(values))
    for name, q in (("x_q25", 0.25), ("x", 0.5), ("x_q75", 0.75)):
        expected = np.percentile(values, 100 * q)
        assert censored_quantile(values, q) == pytest.approx(expected)
        if count > 1 or name == "x":
            assert logged[name] == pytest.approx(expected, rel=1e-5)
    assert set(logged) == ({"x"} if count == 1 else {"x", "x_q25", "x_q75"})


@pytest.mark.parametrize(
    ("values", "q", "expected"),
    [
        ([3.0, None, 1.0], 0.5, 3.0),
        ([3.0, None, 1.0], 0.25, 2.0),
        ([3.0, None, 1.0], 0.75, math.inf),  # between 3 and never
        ([None, 5.0], 0.5, math.inf),
        ([5.0, 5.0, None, None, None], 0.25, 5.0),
        ([5.0, 5.0, None, None, None], 0.5, math.inf),
        ([None], 0.5, math.inf),
        ([0.0], 0.75, 0.0),
    ],
)
def test_none_counts_as_infinity(values, q, expected):
    assert censored_quantile(values, q) == expected


def test_quantile_of_no_values_raises():
    with pytest.raises(ValueError, match="value"):
        censored_quantile([], 0.5)


def test_logged_quartiles_ignore_nan():
    assert quartiles("x", torch.tensor([torch.nan, 4.0, 2.0]))["x"] == 3.0
    assert quartiles("x", torch.tensor([torch.nan, torch.nan])) == {}
