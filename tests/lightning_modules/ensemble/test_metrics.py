"""Scores per seed against loops over single examples."""

import math

import pytest
import torch

from lightning_modules.ensemble.metrics import EnsembleMetrics

KEYS = {
    "train/loss",
    "train/accuracy",
    "test/loss",
    "test/accuracy",
    "test/accuracy_leaked",
    "test/accuracy_clean",
    "data/leak_fraction",
    "data/test_inputs_or_mirrors_in_train",
}


def examples(num_members=3, num_examples=40, seed=0):
    """losses, correct, targets, is_test, leaked, mirrored, as an evaluation batch has them."""
    rng = torch.Generator().manual_seed(seed)
    shape = (num_members, num_examples)
    targets = torch.randint(31, shape, generator=rng)
    is_test = torch.rand(shape, generator=rng) < 0.4
    leaked = is_test & (torch.rand(shape, generator=rng) < 0.5)
    mirrored = leaked | (is_test & (torch.rand(shape, generator=rng) < 0.3))
    filled = torch.rand(shape, generator=rng) < 0.2
    targets[filled] = -100
    is_test[filled] = leaked[filled] = False
    losses = torch.rand(shape, generator=rng) * 5
    return losses, torch.rand(shape, generator=rng) < 0.7, targets, is_test, leaked, mirrored


def scores_by_loop(losses, correct, targets, is_test, leaked, mirrored):
    def mean(values):
        return math.fsum(values) / len(values) if values else math.nan

    result = {key: [] for key in KEYS}
    for s in range(len(targets)):
        train, test, of_leaked, of_clean, of_mirrored = [], [], [], [], []
        for i in range(targets.shape[1]):
            if targets[s, i] == -100:
                continue
            example = (losses[s, i].item(), float(correct[s, i]))
            if not is_test[s, i]:
                train.append(example)
                continue
            test.append(example)
            (of_leaked if leaked[s, i] else of_clean).append(example)
            if mirrored[s, i]:
                of_mirrored.append(example)
        result["train/loss"].append(mean([loss for loss, _ in train]))
        result["train/accuracy"].append(mean([right for _, right in train]))
        result["test/loss"].append(mean([loss for loss, _ in test]))
        result["test/accuracy"].append(mean([right for _, right in test]))
        result["test/accuracy_leaked"].append(mean([right for _, right in of_leaked]))
        result["test/accuracy_clean"].append(mean([right for _, right in of_clean]))
        for name, found in (("inputs", of_leaked), ("inputs_or_mirrors", of_mirrored)):
            share = len(found) / len(test) if test else math.nan
            result[f"data/test_{name}_in_train"].append(share)
    return {key: torch.tensor(values) for key, values in result.items()}


def assert_same(got, expected):
    assert set(got) == set(expected) == KEYS
    for key, values in expected.items():
        torch.testing.assert_close(got[key], values, equal_nan=True, msg=lambda m, k=key: k + m)


@pytest.mark.parametrize("num_members", [1, 3])
def test_scores_are_means_over_each_member_s_own_examples(num_members):
    data = examples(num_members)
    scores = EnsembleMetrics(num_members)
    scores.update(*data)
    assert_same(scores.as_dict(), scores_by_loop(*data))


def test_several_updates_are_one_update_with_everything():
    data = examples()
    scores = EnsembleMetrics(3)
    for part in zip(*(values.split([1, 25, 14], dim=1) for values in data), strict=True):
        scores.update(*part)
    assert_same(scores.as_dict(), scores_by_loop(*data))


def test_computing_in_between_does_not_disturb():
    first, second = examples(seed=1), examples(seed=2)
    scores = EnsembleMetrics(3)
    scores.update(*first)
    assert_same(scores.as_dict(), scores_by_loop(*first))
    scores.update(*second)
    both = [torch.cat(pair, dim=1) for pair in zip(first, second, strict=True)]
    assert_same(scores.as_dict(), scores_by_loop(*both))


def test_reset_forgets():
    data = examples(seed=3)
    scores = EnsembleMetrics(3)
    scores.update(*examples(seed=4))
    scores.as_dict()
    scores.reset()
    scores.update(*data)
    assert_same(scores.as_dict(), scores_by_loop(*data))


def test_where_nothing_was_scored_there_is_no_number():
    losses, correct, targets, is_test, leaked, mirrored = examples()
    is_test[0], leaked[0], mirrored[0] = False, False, False  # nothing to test on
    is_test[1], leaked[1] = True, False  # nothing leaked, nothing trained on
    data = losses, correct, targets, is_test, leaked, mirrored
    scores = EnsembleMetrics(3)
    scores.update(*data)
    got = scores.as_dict()
    assert_same(got, scores_by_loop(*data))
    assert got["test/accuracy"][0].isnan() and got["test/accuracy_leaked"][1].isnan()
    assert got["train/loss"][1].isnan()


def test_a_diverged_member_leaves_the_others_alone():
    losses, correct, targets, is_test, leaked, mirrored = examples()
    losses[1] = math.nan
    data = losses, correct, targets, is_test, leaked, mirrored
    scores = EnsembleMetrics(3)
    scores.update(*data)
    got, expected = scores.as_dict(), scores_by_loop(*data)
    for key in KEYS:
        torch.testing.assert_close(got[key][[0, 2]], expected[key][[0, 2]])
    assert got["train/loss"][1].isnan()
    torch.testing.assert_close(got["train/accuracy"], expected["train/accuracy"])


def test_states_are_sums_so_that_ranks_can_be_added():
    data = examples()
    whole, left, right = EnsembleMetrics(3), EnsembleMetrics(3), EnsembleMetrics(3)
    whole.update(*data)
    left.update(*(values[:, :15] for values in data))
    right.update(*(values[:, 15:] for values in data))
    for name in ("counts", "correct", "losses"):
        torch.testing.assert_close(getattr(left, name) + getattr(right, name), getattr(whole, name))
        assert whole._reductions[name] is not None


def test_before_anything_is_scored_there_are_no_scores_and_no_warning():
    scores = EnsembleMetrics(3)
    assert all(values.shape == (3,) and values.isnan().all() for values in scores.as_dict().values())
