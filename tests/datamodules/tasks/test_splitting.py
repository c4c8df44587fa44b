"""What a seed trains on, what it is tested on, and what the two have in common."""

import random

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


def facts(inputs):
    """Inputs of two tokens without their order."""
    return [tuple(sorted(row)) for row in inputs.tolist()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@each_task
@pytest.mark.parametrize("seed", [0, 66])
def test_distinct_shares_no_input_and_has_the_sizes_that_were_asked_for(
    task, num_train, num_test, seed
):
    split = split_examples(task, seed)
    train, test = rows(split.train_inputs), rows(split.test_inputs)
    assert (len(train), len(test)) == (num_train, num_test)
    assert len(set(train + test)) == num_train + num_test
    assert not split.leaked.any()


@each_task
@pytest.mark.parametrize("sampling", ["distinct", "with_replacement"])
def test_every_input_keeps_its_own_answer(task, num_train, num_test, sampling):
    inputs, answers = task.examples()
    table = dict(zip(rows(inputs), answers.tolist(), strict=True))
    split = split_examples(task, 3, sampling)
    assert [table[row] for row in rows(split.train_inputs)] == split.train_targets.tolist()
    assert [table[row] for row in rows(split.test_inputs)] == split.test_targets.tolist()


@pytest.mark.parametrize("num_samples", [2, 10, 500, 961, 5000])
@pytest.mark.parametrize("fraction", [0.5, 0.8])
def test_the_number_of_samples_is_capped_by_what_there_is(num_samples, fraction):
    split = split_examples(ModularAddition(), 0, "distinct", num_samples, fraction)
    drawn = min(num_samples, 961)
    assert len(split.train_inputs) == int(drawn * fraction)
    assert len(split.test_inputs) == drawn - int(drawn * fraction)


@pytest.mark.parametrize("num_samples", [10, 1000, 5000])
def test_with_replacement_draws_as_many_as_asked(num_samples):
    split = split_examples(ModularAddition(), 0, "with_replacement", num_samples, 0.8)
    assert len(split.train_inputs) == num_samples * 8 // 10
    assert len(split.test_inputs) == num_samples * 2 // 10


def test_all_examples_are_used_where_samples_are_plenty():
    task = ModularAddition()
    split = split_examples(task, 5)
    together = rows(split.train_inputs) + rows(split.test_inputs)
    assert sorted(together) == sorted(rows(task.examples()[0]))


@pytest.mark.parametrize("seed", range(20))
def test_pairs_stay_together_and_the_size_is_met_exactly(seed):
    split = split_examples(ModularAddition(), seed, keep_pairs_together=True)
    assert (len(split.train_inputs), len(split.test_inputs)) == (768, 193)
    assert set(facts(split.train_inputs)).isdisjoint(facts(split.test_inputs))
    assert not split.leaked.any() and not split.mirrored.any()
    train = set(rows(split.train_inputs))
    assert all((y, x) in train for x, y in train)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("task", [EquivalenceClasses(), LatticeCompletion()], ids=lambda t: t.name)
def test_pairs_stay_together_in_a_sample_of_a_larger_task(task, fraction):
    for seed in range(5):
        split = split_examples(task, seed, train_fraction=fraction, keep_pairs_together=True)
        assert len(split.train_inputs) == int(1000 * fraction)
        train = set(task.equivalent_inputs(split.train_inputs).tolist())
        assert train.isdisjoint(task.equivalent_inputs(split.test_inputs).tolist())
        assert not split.mirrored.any()


def test_pairs_kept_together_still_leave_both_kinds_of_input_on_both_sides():
    # The diagonal is not put to one side: 31 inputs (x, x), about 80 % of them in training.
    diagonal = [
        sum(
            x == y
            for x, y in rows(split_examples(ModularAddition(), s, keep_pairs_together=True)[0])
        )
        for s in range(20)
    ]
    assert 20 < sum(diagonal) / 20 < 29


@pytest.mark.parametrize("task", [ModularAddition(), Genealogy()], ids=lambda task: task.name)
@pytest.mark.parametrize("sampling", ["distinct", "with_replacement"])
@pytest.mark.parametrize("seed", [0, 7])
def test_leaked_and_mirrored_mark_what_training_has_seen(task, sampling, seed):
    split = split_examples(task, seed, sampling)
    train = set(rows(split.train_inputs))
    assert split.leaked.tolist() == [row in train for row in rows(split.test_inputs)]
    mirrored = [
        (x, y) in train or (task.symmetric and (y, x) in train) for x, y in rows(split.test_inputs)
    ]
    assert split.mirrored.tolist() == mirrored
    assert split.leaked.any() == (sampling == "with_replacement")


def test_with_replacement_leaks_as_much_as_theory_says():
    shares = [
        split_examples(ModularAddition(), seed, "with_replacement").leaked.float().mean().item()
        for seed in range(40)
    ]
    # 40 x 200 test inputs: a standard error of about 0.006.
    assert sum(shares) / 40 == pytest.approx(1 - (1 - 1 / 961) ** 800, abs=0.02)


def test_every_example_is_trained_on_equally_often():
    counts = np.zeros((31, 31))
    for seed in range(200):
        for x, y in rows(split_examples(ModularAddition(), seed).train_inputs):
            counts[x, y] += 1
    # Each about 200 x 768/961 = 160, with a deviation of 5.7; the extreme of 961 is about 3.3.
    assert abs(counts - 200 * 768 / 961).max() < 5 * 5.7


@pytest.mark.parametrize("sampling", ["distinct", "with_replacement"])
def test_a_split_is_a_function_of_its_seed_alone(sampling):
    task = ModularAddition()
    splits = [split_examples(task, seed, sampling) for seed in range(6)]
    for seed in reversed(range(6)):
        assert same(split_examples(ModularAddition(), seed, sampling), splits[seed])
    for i, split in enumerate(splits):
        assert not any(
            set(rows(split.train_inputs)) == set(rows(other.train_inputs)) for other in splits[:i]
        )


@pytest.mark.parametrize(
    "options", [{}, {"sampling": "with_replacement"}, {"keep_pairs_together": 1}]
)
def test_the_global_generators_are_neither_read_nor_moved(options):
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first = split_examples(ModularAddition(), 4, **options)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    assert random.getstate() == states[2]
    torch.manual_seed(2), np.random.seed(2), random.seed(2)
    assert same(split_examples(ModularAddition(), 4, **options), first)


@pytest.mark.parametrize(
    ("task", "sampling"),
    [(ModularAddition(), "with_replacement"), (Genealogy(), "distinct")],
    ids=["with_replacement", "not_symmetric"],
)
def test_pairs_cannot_be_kept_together_where_there_are_none_to_keep(task, sampling):
    with pytest.raises(ValueError, match=f"keep_pairs_together needs .*{type(task).__name__}"):
        split_examples(task, 0, sampling, keep_pairs_together=True)


@pytest.mark.parametrize(
    ("num_samples", "fraction"), [(2, 0.4), (3, 0.1), (1, 0.5), (10, 1.0), (10, 0.0)]
)
def test_a_side_without_examples_is_refused(num_samples, fraction):
    with pytest.raises(ValueError, match=f"train_fraction {fraction} of {num_samples} examples"):
        split_examples(ModularAddition(), 0, "distinct", num_samples, fraction)


@pytest.mark.parametrize("seed", [772, 888, 1725, 1846, 2176])
def test_pairs_fill_the_training_set_exactly_where_a_single_must_give_way(seed):
    split = split_examples(ModularAddition(), seed, keep_pairs_together=True)
    assert len(split.train_inputs) == 768 and not split.mirrored.any()
