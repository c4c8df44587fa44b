"""Scores per seed against loops over single examples."""

import math

import pytest
import torch

from lightning_modules.ensemble.metrics import SCORES, EnsembleMetrics


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

    rows = []
    for s in range(len(targets)):
        members = [i for i in range(targets.shape[1]) if targets[s, i] != -100]
        train = [i for i in members if not is_test[s, i]]
        test = [i for i in members if is_test[s, i]]
        rows.append(
            [
                mean([losses[s, i].item() for i in train]),
                mean([float(correct[s, i]) for i in train]),
                mean([losses[s, i].item() for i in test]),
                mean([float(correct[s, i]) for i in test]),
                mean([float(correct[s, i]) for i in test if leaked[s, i]]),
                mean([float(correct[s, i]) for i in test if not leaked[s, i]]),
                mean([float(leaked[s, i]) for i in test]),
                mean([float(mirrored[s, i]) for i in test]),
            ]
        )
    return dict(zip(SCORES, torch.tensor(rows).unbind(1), strict=True))


def assert_same(scores, expected):
    torch.testing.assert_close(scores, expected, equal_nan=True)


def test_updates_accumulate_and_reset_starts_again():
    first, second = examples(seed=1), examples(seed=2)
    metrics = EnsembleMetrics(3)
    assert all(value.isnan().all() for value in metrics.as_dict().values())  # without a warning
    for part in zip(*(values.split([1, 25, 14], dim=1) for values in first), strict=True):
        metrics.update(*part)
    assert_same(metrics.as_dict(), scores_by_loop(*first))
    metrics.update(*second)
    both = [torch.cat(pair, dim=1) for pair in zip(first, second, strict=True)]
    assert_same(metrics.as_dict(), scores_by_loop(*both))
    metrics.reset()
    metrics.update(*second)
    assert_same(metrics.as_dict(), scores_by_loop(*second))


def test_an_empty_subset_has_no_score():
    losses, correct, targets, is_test, leaked, mirrored = examples()
    is_test[0], leaked[0], mirrored[0] = False, False, False  # nothing to test on
    is_test[1], leaked[1] = True, False  # nothing leaked, nothing trained on
    data = losses, correct, targets, is_test, leaked, mirrored
    metrics = EnsembleMetrics(3)
    metrics.update(*data)
    scores = metrics.as_dict()
    assert_same(scores, scores_by_loop(*data))
    assert scores["test/accuracy"][0].isnan() and scores["test/accuracy_leaked"][1].isnan()
    assert scores["train/loss"][1].isnan()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_diverged_member_leaves_the_other_members_and_subsets_alone(value):
    losses, *data = examples()
    losses[1] = torch.where(data[2][1], losses[1], value)  # of the training examples
    metrics = EnsembleMetrics(3)
    metrics.update(losses, *data)
    assert_same(metrics.as_dict(), scores_by_loop(losses, *data))
    assert not metrics.as_dict()["train/loss"][1].isfinite()


def test_members_of_two_ranks_add_up_to_the_whole():
    data = examples()
    whole, left, right = EnsembleMetrics(3), EnsembleMetrics(3), EnsembleMetrics(3)
    whole.update(*data)
    left.update(*(values[:1] for values in data))
    right.update(*(values[1:] for values in data), first=1)
    for name in ("counts", "correct", "losses", "mirrored"):
        torch.testing.assert_close(getattr(left, name) + getattr(right, name), getattr(whole, name))
