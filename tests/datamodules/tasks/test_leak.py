"""Drawing with replacement before splitting leaks test inputs into training: by how much.

Expected values are computed here from counts alone; the published-code figures are means over
20 other seeds.
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


def leaked_shares(task, key):
    """Per seed, the share of test samples whose key also occurs in training."""
    shares = []
    for seed in SEEDS:
        inputs, _ = task.draw(DATA_SIZE, torch.Generator().manual_seed(seed))
        keys = key(inputs)
        # The order is random, so the first four fifths are as good a training set as any.
        num_train = len(keys) * NUM_TRAIN // DATA_SIZE
        train, test = set(keys[:num_train]), keys[num_train:]
        shares.append(sum(example in train for example in test) / len(test))
    return shares


def exact_inputs(inputs):
    return list(map(tuple, inputs.tolist()))


def standard_error(shares):
    return statistics.stdev(shares) / math.sqrt(len(shares))


@pytest.mark.parametrize(
    ("task", "distinct", "authors_mean"),
    [
        (LatticeCompletion(), 7225, 0.106),
        (ModularAddition(), 961, 0.561),
        (EquivalenceClasses(), 1600, 0.384),
        (Genealogy(protocol="code"), 373, 0.873),
        (GreaterThan(), 900, 0.595),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_leak_of_a_drawn_list_agrees_with_theory(task, distinct, authors_mean):
    shares = leaked_shares(task, exact_inputs)
    theory = 1 - (1 - 1 / distinct) ** NUM_TRAIN
    assert abs(statistics.mean(shares) - theory) < 4 * standard_error(shares)
    # Both sides are means over seeds here, hence the factor sqrt(2).
    tolerance = 4 * math.sqrt(2) * standard_error(shares)
    assert abs(statistics.mean(shares) - authors_mean) < tolerance


@pytest.mark.parametrize(
    ("task", "distinct", "fixed_points", "authors_mean"),
    [
        # fixed_points: inputs that are their own mirror image. On the lattice these have x1 = x2
        # halfway between x0 and the answer, which are then an even distance apart: on each axis
        # 3² even-even and 2² odd-odd pairs.
        (LatticeCompletion(), 7225, (9 + 4) ** 2, 0.198),
        (ModularAddition(), 961, 31, 0.806),
        (EquivalenceClasses(), 1600, 40, 0.612),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_leak_through_the_mirror_image_agrees_with_theory(
    task, distinct, fixed_points, authors_mean
):
    shares = leaked_shares(task, lambda inputs: task.equivalent_inputs(inputs).tolist())
    alone, paired = (1 - (1 - size / distinct) ** NUM_TRAIN for size in (1, 2))
    theory = paired + (alone - paired) * fixed_points / distinct
    assert abs(statistics.mean(shares) - theory) < 4 * standard_error(shares)
    tolerance = 4 * math.sqrt(2) * standard_error(shares)
    assert abs(statistics.mean(shares) - authors_mean) < tolerance


def test_permutation_composition_does_not_leak():
    assert leaked_shares(PermutationComposition(), exact_inputs) == [0.0] * len(SEEDS)
