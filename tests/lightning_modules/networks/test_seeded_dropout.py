"""SeededDropout: a mask that is a pure function of its key."""

import math
import random

import numpy as np
import pytest
import torch
from torch.func import functional_call, vmap

from lightning_modules import ToyTransformer
from lightning_modules.networks.seeded_dropout import SeededDropout


def kept(p, key, *shape):
    dropout = SeededDropout(p).train()
    dropout.key = None if key is None else torch.tensor(key)
    return dropout(torch.ones(*shape)) != 0


def test_mask_depends_on_the_key_only():
    masks = {key: kept(0.5, key, 8, 16) for key in [0, 1, 2, 12345, 2**32 - 1]}
    for key, mask in masks.items():
        assert torch.equal(kept(0.5, key, 8, 16), mask)
        for other, its_mask in masks.items():
            assert torch.equal(mask, its_mask) == (key == other)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("key", [0, 7, 2**32 - 1, None])
def test_keep_rate_is_one_minus_p(p, key):
    torch.manual_seed(0)
    mask = kept(p, key, 200_000)
    sigma = math.sqrt(p * (1 - p) / mask.numel())
    assert mask.double().mean().item() == pytest.approx(1 - p, abs=4 * sigma)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_masks_are_independent_across_keys_and_positions(p):
    n = 100_000
    first, second = kept(p, 123_456_789, n), kept(p, 3_210_987_654, n)
    for a, b in ((first, second), (first[1:], first[:-1]), (first[16:], first[:-16])):
        both = (a & b).double().mean().item()
        assert both == pytest.approx((1 - p) ** 2, abs=5 * math.sqrt((1 - p) ** 2 / n))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.75])
@pytest.mark.parametrize("key", [3, None])
def test_kept_values_and_gradients_are_scaled(p, key):
    dropout = SeededDropout(p).train()
    dropout.key = None if key is None else torch.tensor(key)
    x = torch.linspace(1, 2, 500, requires_grad=True)
    y = dropout(x)
    mask = y != 0
    assert 0 < mask.sum() < 500
    torch.testing.assert_close(y[mask], x[mask] / (1 - p))
    y.sum().backward()
    torch.testing.assert_close(x.grad, mask / (1 - p))


def test_keyed_dropout_does_not_use_the_global_generators():
    torch.manual_seed(1)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    first = kept(0.5, 3, 100)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1] and (np.random.get_state()[1] == states[2]).all()
    torch.manual_seed(2)
    assert torch.equal(kept(0.5, 3, 100), first)


def test_vmap_uses_each_member_s_key():
    dropout = SeededDropout(0.4).train()
    dropout.key = torch.tensor(0)
    keys = torch.tensor([5, 77, 4_000_000_000])
    together = vmap(lambda key, x: functional_call(dropout, {"key": key}, (x,)))(
        keys, torch.ones(3, 4, 10)
    )
    for key, mask in zip(keys.tolist(), together != 0, strict=True):
        assert torch.equal(mask, kept(0.4, key, 4, 10))


def test_zero_dropout_and_evaluation_are_the_identity():
    x = torch.randn(50)
    assert torch.equal(SeededDropout(0.0).train()(x), x)
    assert torch.equal(SeededDropout(0.9).eval()(x), x)
    assert not torch.equal(SeededDropout(0.9, in_evaluation=True).eval()(x), x)


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, math.nan])
def test_dropout_out_of_range_raises(p):
    with pytest.raises(ValueError, match="dropout"):
        SeededDropout(p)
    with pytest.raises(ValueError, match="dropout"):
        ToyTransformer(31, 2, dropout=p)
