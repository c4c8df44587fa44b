"""Tasks on numbers and grid points, against plain loops."""

import itertools

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


def pairs(size, answer):
    return {(x, y): answer(x, y) for x in range(size) for y in range(size)}


def parallelograms(side):
    token = {(row, column): side * row + column for row in range(side) for column in range(side)}
    table = {}
    for (r0, c0), (r1, c1), (r2, c2) in itertools.product(token, repeat=3):
        corner = (r1 + r2 - r0, c1 + c2 - c0)
        if corner in token:
            table[token[r0, c0], token[r1, c1], token[r2, c2]] = token[corner]
    return table


@pytest.mark.parametrize(
    ("task", "table"),
    [
        *((ModularAddition(p), pairs(p, lambda x, y, p=p: (x + y) % p)) for p in (2, 7, 31)),
        *(
            (EquivalenceClasses(n, m), pairs(n, lambda x, y, n=n, m=m: n + ((x - y) % m != 0)))
            for n, m in ((40, 5), (12, 3), (7, 7), (8, 3))
        ),
        *((GreaterThan(n), pairs(n, lambda x, y, n=n: n + (x > y))) for n in (2, 9, 30)),
        *((LatticeCompletion(side), parallelograms(side)) for side in (2, 3, 5)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_table_is_the_rule(task, table):
    inputs, answers = task.examples()
    assert len(answers) == len(table)
    assert dict(zip(map(tuple, inputs.tolist()), answers.tolist(), strict=True)) == table


@pytest.mark.parametrize(
    ("task", "sizes"),
    [
        (ModularAddition(), (961, 31, 2)),
        (EquivalenceClasses(), (1600, 42, 2)),
        (GreaterThan(), (900, 32, 2)),
        (LatticeCompletion(), (7225, 25, 3)),
        (PermutationComposition(), (576, 24, 2)),
        (Genealogy(), (376, 130, 2)),
        (Genealogy(protocol="code"), (373, 130, 2)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_published_sizes(task, sizes):
    assert (len(task.examples()[1]), task.vocab_size, task.num_inputs) == sizes


def test_equal_answers_do_not_make_two_inputs_the_same_fact():
    for task, inputs in (
        (ModularAddition(), [[3, 20], [20, 3], [2, 21]]),
        (EquivalenceClasses(), [[3, 20], [20, 3], [8, 20]]),
        (LatticeCompletion(), [[6, 7, 11], [6, 11, 7], [7, 6, 11]]),
    ):
        first, second, other = task.equivalent_inputs(torch.tensor(inputs)).tolist()
        assert first == second != other


def test_answer_tokens_have_no_structure():
    for task, names in (
        (EquivalenceClasses(), ["same", "different"]),
        (GreaterThan(), ["<=", ">"]),
    ):
        assert task.embedding_tokens.tolist() == list(range(task.size))
        assert task.token_labels[task.size :] == names


def test_plots_show_the_structure():
    addition, classes = ModularAddition(), EquivalenceClasses()
    assert (addition.structure, addition.group_kind) == ("circle", "cyclic")
    assert addition.token_groups.tolist() == list(range(31)) and len(addition.edges) == 0
    assert (classes.structure, classes.group_kind) == ("classes", "categorical")
    assert classes.token_groups.tolist() == [value % 5 for value in range(40)]
    line = GreaterThan()
    assert (line.structure, line.group_kind) == ("line", "sequential")
    assert line.edges.tolist() == [[value, value + 1] for value in range(29)]
    grid = LatticeCompletion(4)
    assert (grid.structure, grid.group_kind) == ("lattice", "sequential")
    assert grid.token_labels[6] == "(1,2)"
    assert grid.token_groups.tolist() == [row for row in range(4) for _ in range(4)]
    neighbors = {
        frozenset((a, b))
        for a, b in itertools.product(range(16), repeat=2)
        if abs(a // 4 - b // 4) + abs(a % 4 - b % 4) == 1
    }
    assert {frozenset(edge) for edge in grid.edges.tolist()} == neighbors


@pytest.mark.parametrize(
    ("task", "option", "value"),
    [
        (ModularAddition, "modulus", 1),
        (ModularAddition, "modulus", 2.5),
        (ModularAddition, "modulus", True),
        (EquivalenceClasses, "modulus", 1),
        (EquivalenceClasses, "size", 4),
        (GreaterThan, "size", 1),
        (LatticeCompletion, "side", 1),
        (LatticeCompletion, "side", "5"),
    ],
)
def test_sizes_out_of_range_are_errors(task, option, value):
    with pytest.raises(ValueError, match=option):
        task(**{option: value})
