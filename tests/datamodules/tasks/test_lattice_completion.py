import itertools

import pytest
import torch

from datamodules.tasks import LatticeCompletion


@pytest.mark.parametrize("side", [2, 3, 5])
def test_table_is_every_parallelogram_on_the_grid(side):
    token = {(row, column): side * row + column for row in range(side) for column in range(side)}
    table = {}
    for (r0, c0), (r1, c1), (r2, c2) in itertools.product(token, repeat=3):
        corner = (r1 + r2 - r0, c1 + c2 - c0)
        if corner in token:
            table[token[r0, c0], token[r1, c1], token[r2, c2]] = token[corner]
    inputs, answers = LatticeCompletion(side).examples()
    assert len(answers) == len(table)
    assert dict(zip(map(tuple, inputs.tolist()), answers.tolist(), strict=True)) == table


def test_published_sizes():
    task = LatticeCompletion()
    assert (len(task.examples()[1]), task.vocab_size, task.num_inputs) == (7225, 25, 3)


def test_only_the_two_neighbors_of_the_first_corner_are_interchangeable():
    groups = LatticeCompletion().equivalent_inputs(
        torch.tensor([[6, 7, 11], [6, 11, 7], [7, 6, 11]])
    )
    assert groups[0] == groups[1] != groups[2]


def test_plots_show_rows_and_grid_lines():
    task = LatticeCompletion(4)
    assert task.structure == "lattice" and task.group_kind == "sequential"
    assert task.token_labels[6] == "(1,2)"
    assert task.token_groups.tolist() == [row for row in range(4) for _ in range(4)]
    neighbors = {
        frozenset((a, b))
        for a, b in itertools.product(range(16), repeat=2)
        if abs(a // 4 - b // 4) + abs(a % 4 - b % 4) == 1
    }
    assert {frozenset(edge) for edge in task.edges.tolist()} == neighbors


@pytest.mark.parametrize("side", [1, 0, -2, "5"])
def test_a_bad_side_is_refused_by_value(side):
    with pytest.raises(ValueError, match=f"side must be .* at least 2, not {side!r}"):
        LatticeCompletion(side)
