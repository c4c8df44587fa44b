"""How much drawing with replacement before splitting leaks test inputs into training.

Expected values are computed from counts; the numbers of the authors' code are means of 20 seeds.
"""

import math
import statistics

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

DATA_SIZE, NUM_TRAIN, SEEDS = 1000, 800, range(20)


def leaked_fractions(task, key):
    """Per seed, the fraction of test samples whose key also occurs in training."""
    fractions = []
    for seed in SEEDS:
        inputs, _ = task.draw(DATA_SIZE, torch.Generator().manual_seed(seed))
        keys = key(inputs)
        # The order is random, so the first four fifths are as good a training set as any.
        num_train = len(keys) * NUM_TRAIN // DATA_SIZE
        train, test = set(keys[:num_train]), keys[num_train:]
        fractions.append(sum(example in train for example in test) / len(test))
    return fractions


def exact_inputs(inputs):
    return list(map(tuple, inputs.tolist()))


@pytest.mark.parametrize(
    ("task", "distinct", "fixed_points", "authors_mean"),
    [
        (LatticeCompletion(), 7225, None, 0.106),
        (ModularAddition(), 961, None, 0.561),
        (EquivalenceClasses(), 1600, None, 0.384),
        (Genealogy(protocol="code"), 373, None, 0.873),
        (GreaterThan(), 900, None, 0.595),
        # Through the mirror image. fixed_points: inputs that are their own mirror image. On the
        # lattice these have x1 = x2 halfway between x0 and the answer, which are then an even
        # distance apart: on each axis 3² even-even and 2² odd-odd pairs.
        (LatticeCompletion(), 7225, (9 + 4) ** 2, 0.198),
        (ModularAddition(), 961, 31, 0.806),
        (EquivalenceClasses(), 1600, 40, 0.612),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_leak_of_a_drawn_list_agrees_with_theory(task, distinct, fixed_points, authors_mean):
    theory, paired = (1 - (1 - size / distinct) ** NUM_TRAIN for size in (1, 2))
    if fixed_points is None:
        fractions = leaked_fractions(task, exact_inputs)
    else:
        fractions = leaked_fractions(task, lambda x: task.equivalent_inputs(x).tolist())
        theory = paired + (theory - paired) * fixed_points / distinct
    standard_error = statistics.stdev(fractions) / math.sqrt(len(fractions))
    assert abs(statistics.mean(fractions) - theory) < 4 * standard_error
    # Both sides are means over seeds here, hence the factor sqrt(2).
    assert abs(statistics.mean(fractions) - authors_mean) < 4 * math.sqrt(2) * standard_error


def test_permutation_composition_does_not_leak():
    assert leaked_fractions(PermutationComposition(), exact_inputs) == [0.0] * len(SEEDS)
