"""Sparse and circular features: definitions, moments, and what a draw depends on."""

import math

import numpy as np
import pytest
import torch

from datamodules.common.order import RandomStream
from datamodules.features import draws as feature_draws
from datamodules.features.draws import (
    LazyFeatureBatches,
    circular_features,
    sparse_features,
)


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def within(sample, expected, sigmas=5.0):
    """Whether the mean of independent samples is within a few standard errors of a number."""
    sample = sample.double().flatten()
    return abs(sample.mean() - expected) < sigmas * sample.std() / math.sqrt(len(sample))


# ---- sparse features -----------------------------------------------------------------------------


def test_a_feature_is_one_minus_the_number_over_its_probability_or_zero():
    u, p = uniform(50, 4), [0.1, 0.5, 0.9, 1.0]
    x = sparse_features(u, torch.tensor(p))
    for row, drawn in zip(x.tolist(), u.tolist(), strict=True):
        for value, number, probability in zip(row, drawn, p, strict=True):
            expected = 1.0 - number / probability if number < probability else 0.0
            assert value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("pairs", ["none", "correlated", "anti-correlated"])
@pytest.mark.parametrize("p", [0.5, 0.1, 0.01])
def test_every_feature_has_the_same_moments_in_any_kind_of_pair(pairs, p):
    x = sparse_features(uniform(60_000, 4), torch.tensor(p), pairs)
    for feature in x.unbind(-1):
        assert within((feature > 0).float(), p)
        assert within(feature, p / 2)
        assert within(feature**2, p / 3)
        # Uniform on (0, 1] where it is active: Kolmogorov's distance, p-value 1e-4.
        active = np.sort(feature[feature > 0].numpy())
        ranks = np.arange(1, len(active) + 1) / len(active)
        assert np.abs(ranks - active).max() < 2.23 / math.sqrt(len(active))
    assert x.min() == 0 and x.max() <= 1


def test_independent_features_are_active_together_by_chance_alone():
    active = sparse_features(uniform(60_000, 4), torch.tensor(0.3)) > 0
    for i, j in ((0, 1), (1, 2), (0, 3)):
        assert within((active[:, i] & active[:, j]).float(), 0.09)


def test_correlated_pairs_are_active_together_with_independent_values():
    p = torch.tensor([0.3, 0.3, 0.1, 0.1])
    x = sparse_features(uniform(60_000, 4), p, "correlated")
    active = x > 0
    # The second of a pair is exactly 0 with probability 2^-24.
    assert (active[:, 0] != active[:, 1]).sum() <= 1
    assert (active[:, 2] != active[:, 3]).sum() <= 1
    assert within((active[:, 0] & active[:, 2]).float(), 0.03)
    both = x[active[:, 0], :2].double() - 0.5
    assert within(both[:, 0] * both[:, 1], 0.0)


def test_of_an_anti_correlated_pair_at_most_one_is_active():
    p = torch.tensor([0.5, 0.5, 0.7, 0.3])
    x = sparse_features(uniform(60_000, 4), p, "anti-correlated")
    active = x > 0
    assert not (active[:, 0] & active[:, 1]).any() and not (active[:, 2] & active[:, 3]).any()
    assert within(active[:, 2].float(), 0.7) and within(active[:, 3].float(), 0.3)
    assert within((active[:, 0] & active[:, 2]).float(), 0.35)


# ---- circular features ---------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.02, 0.3, 1.0, 1.5, 2.0])
def test_circular_features_follow_the_formula_with_the_angle_wrapped(scale):
    u, size = uniform(40, 2), 18
    u[0, 0], u[1, 0], u[2, 0] = 0.0, 0.999, 0.5  # where the angle wraps
    x = circular_features(u, torch.tensor(scale), size)
    for row, (turn, m) in zip(x.double(), u.double().tolist(), strict=True):
        for k in range(size):
            phi, theta = 2 * math.pi * k / size, 2 * math.pi * turn
            d = (phi - theta + math.pi) % (2 * math.pi) - math.pi
            expected = m * math.cos(d / scale) if abs(d) <= math.pi * scale / 2 else 0.0
            assert row[k] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("scale", "size"), [(0.2, 90), (1.0, 90), (0.5, 7), (2.0, 10)])
def test_circular_features_have_the_closed_form_moments_and_number_of_active_features(scale, size):
    u = uniform(30_000, 2)
    x = circular_features(u, torch.tensor(scale), size)
    for feature in x.unbind(-1)[:7]:
        assert within(feature, scale / (2 * math.pi))
        assert within(feature**2, scale / 12)
    count = (x[u[:, 1] > 0] > 0).sum(-1)
    expected = size * scale / 2
    # If it is a whole number, rounding may lose the feature at the end of the arc.
    lost = 1 if expected == int(expected) else 0
    assert set(count.tolist()) <= set(range(math.floor(expected) - lost, math.ceil(expected) + 1))
    assert abs(count.double().mean() - expected) < 0.018  # 6 standard errors of 0.5/√30,000
    assert (x >= 0).all()


# ---- what a draw depends on ----------------------------------------------------------------------


def draws(
    seeds,
    probabilities=None,
    first_step=0,
    steps=3,
    stream=RandomStream.TRAINING_FEATURES,
    batch_size=16,
):
    rows = torch.tensor(probabilities or [0.5] * len(seeds)).view(-1, 1, 1).expand(-1, 1, 6)
    return LazyFeatureBatches(
        sparse_features, rows, seeds, 6, 6, batch_size, first_step, steps, stream
    )


def test_a_member_has_the_same_draws_alone_and_with_others():
    seeds, probabilities = [5, 3, 5, 900], [0.5, 0.4, 0.1, 1.0]
    together = draws(seeds, probabilities)
    for member, (seed, probability) in enumerate(zip(seeds, probabilities, strict=True)):
        alone = draws([seed], [probability])
        for step in range(3):
            assert torch.equal(together[step][member], alone[step][0])


def test_draws_do_not_depend_on_the_members_processed_at_a_time(monkeypatch):
    seeds = [4, 4, 1, 7, 1]
    expected = draws(seeds)[1]
    for at_a_time in (1, 2 * 16 * 6, 10**9):
        monkeypatch.setattr(feature_draws, "_CHUNK", at_a_time)
        assert torch.equal(draws(seeds)[1], expected)


def test_a_slice_of_members_and_examples_has_the_same_numbers():
    whole = draws([4, 4, 1, 7, 1], [0.1, 0.3, 0.5, 0.7, 0.9])
    assert torch.equal(whole[1:, 2:4, 1::2][0], whole[1][2:4, 1::2])
    for rank in range(3):
        assert torch.equal(whole[:, :, rank::3][2], whole[2][:, rank::3])


def test_steps_count_from_the_start_of_the_run_and_can_be_repeated():
    run = draws([1, 2], steps=10)
    resumed = draws([1, 2], first_step=6, steps=4)
    for step in range(4):
        assert torch.equal(run[6 + step], resumed[step])
        assert torch.equal(run[6 + step], run[6 + step])
    assert resumed.first_step == 6


def test_steps_seeds_and_held_out_draws_are_all_different():
    seen = [
        tuple(draws([seed], [1.0], step, stream=stream)[0].flatten().tolist())
        for seed in range(4)
        for step in range(4)
        for stream in (RandomStream.TRAINING_FEATURES, RandomStream.HELD_OUT_FEATURES)
    ]
    values = [value for draw in seen for value in draw]
    # 3,072 numbers of 2^24: 0.3 of them are expected to meet by chance.
    assert len(values) - len(set(values)) <= 4


def test_members_of_one_seed_have_the_same_numbers_under_their_probabilities():
    x = draws([8, 8], [1.0, 0.5])[0]
    number = 1.0 - x[0]
    expected = torch.where(number < 0.5, 1.0 - 2.0 * number, 0.0)
    torch.testing.assert_close(x[1], expected, rtol=0.0, atol=1e-6)


def test_global_generators_are_neither_read_nor_advanced():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = draws([1, 2])[0]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert torch.equal(draws([1, 2])[0], first)
