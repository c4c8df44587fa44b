"""Training and test sets of a seed, and what they have in common."""

import numpy as np
import pytest
import torch

from datamodules.tasks import (
    EquivalenceClasses,
    Genealogy,
    GreaterThan,
    LatticeCompletion,
    ModularAddition,
    PermutationComposition,
)
from datamodules.tasks.splitting import split_examples

SIZES = [
    (ModularAddition(), 768, 193),
    (LatticeCompletion(), 800, 200),
    (Genealogy(), 300, 76),
    (Genealogy(protocol="code"), 298, 75),
    (EquivalenceClasses(), 800, 200),
    (PermutationComposition(), 460, 116),
    (GreaterThan(), 720, 180),
]
each_task = pytest.mark.parametrize(
    ("task", "num_train", "num_test"), SIZES, ids=[f"{t.name}-{n}" for t, n, _ in SIZES]
)


def rows(inputs):
    return [tuple(row) for row in inputs.tolist()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@each_task
def test_distinct_shares_no_input_and_has_the_expected_sizes(task, num_train, num_test):
    split = split_examples(task, 66)
    train, test = rows(split.train_inputs), rows(split.test_inputs)
    assert (len(train), len(test)) == (num_train, num_test)
    assert len(set(train + test)) == num_train + num_test
    assert not split.leaked.any()


@each_task
@pytest.mark.parametrize("sampling", ["distinct", "with_replacement"])
def test_every_input_keeps_its_answer(task, num_train, num_test, sampling):
    inputs, answers = task.examples()
    table = dict(zip(rows(inputs), answers.tolist(), strict=True))
    split = split_examples(task, 3, sampling)
    assert [table[row] for row in rows(split.train_inputs)] == split.train_targets.tolist()
    assert [table[row] for row in rows(split.test_inputs)] == split.test_targets.tolist()


@pytest.mark.parametrize("sampling", ["distinct", "with_replacement"])
@pytest.mark.parametrize("num_samples", [2, 10, 961, 5000])
@pytest.mark.parametrize("fraction", [0.5, 0.8])
def test_distinct_draws_at_most_all_examples(sampling, num_samples, fraction):
    split = split_examples(ModularAddition(), 0, sampling, num_samples, fraction)
    drawn = min(num_samples, 961) if sampling == "distinct" else num_samples
    assert len(split.train_inputs) == int(drawn * fraction)
    assert len(split.test_inputs) == drawn - int(drawn * fraction)


def test_a_fraction_that_is_stored_a_little_too_small_is_not_rounded_down():
    split = split_examples(ModularAddition(), 0, "distinct", 100, 0.29)  # 100 * 0.29 < 29
    assert len(split.train_inputs) == 29


@pytest.mark.parametrize("task", [ModularAddition(), Genealogy()], ids=lambda task: task.name)
@pytest.mark.parametrize("sampling", ["distinct", "with_replacement"])
def test_leaked_and_mirrored_mark_training_inputs(task, sampling):
    split = split_examples(task, 7, sampling)
    train = set(rows(split.train_inputs))
    assert split.leaked.tolist() == [row in train for row in rows(split.test_inputs)]
    mirrored = [
        (x, y) in train or (task.symmetric and (y, x) in train) for x, y in rows(split.test_inputs)
    ]
    assert split.mirrored.tolist() == mirrored
    assert split.leaked.any() == (sampling == "with_replacement")


def test_every_example_is_trained_on_equally_often():
    counts = np.zeros((31, 31))
    for seed in range(200):
        for x, y in rows(split_examples(ModularAddition(), seed).train_inputs):
            counts[x, y] += 1
    # Each about 200 x 768/961 = 160, with a standard deviation of 5.7; the largest of 961
    # deviations is about 3.3 of them.
    assert abs(counts - 200 * 768 / 961).max() < 5 * 5.7


@pytest.mark.parametrize("sampling", ["distinct", "with_replacement"])
def test_a_split_is_a_function_of_its_seed_alone(sampling):
    splits = [split_examples(ModularAddition(), seed, sampling) for seed in range(6)]
    for seed in reversed(range(6)):
        assert same(split_examples(ModularAddition(), seed, sampling), splits[seed])
    assert len({frozenset(rows(split.train_inputs)) for split in splits}) == 6


@pytest.mark.parametrize(
    ("num_samples", "fraction"), [(2, 0.4), (3, 0.1), (1, 0.5), (10, 1.0), (10, 0.0)]
)
def test_an_empty_training_or_test_set_is_an_error(num_samples, fraction):
    with pytest.raises(ValueError, match="train_fraction"):
        split_examples(ModularAddition(), 0, "distinct", num_samples, fraction)
