import pytest
import torch

from datamodules.tasks import EquivalenceClasses


@pytest.mark.parametrize(("size", "modulus"), [(40, 5), (12, 3), (7, 7), (8, 3)])
def test_table_is_the_rule_for_every_pair(size, modulus):
    table = {}
    for x in range(size):
        for y in range(size):
            table[x, y] = size if (x - y) % modulus == 0 else size + 1
    inputs, answers = EquivalenceClasses(size, modulus).examples()
    assert dict(zip(map(tuple, inputs.tolist()), answers.tolist(), strict=True)) == table


def test_published_sizes():
    task = EquivalenceClasses()
    assert (len(task.examples()[1]), task.vocab_size, task.num_inputs) == (1600, 42, 2)


def test_a_fifth_of_the_pairs_is_equivalent():
    _, answers = EquivalenceClasses().examples()
    assert answers.tolist().count(40) == 5 * 8 * 8 == 0.2 * 1600


def test_the_answer_tokens_are_no_inputs_and_carry_no_structure():
    task = EquivalenceClasses()
    assert task.examples()[0].max() == 39
    assert task.embedding_tokens.tolist() == list(range(40))
    assert task.token_labels[39:] == ["39", "same", "different"]


def test_swapped_pairs_share_a_group_and_others_do_not():
    groups = EquivalenceClasses().equivalent_inputs(torch.tensor([[3, 20], [20, 3], [8, 20]]))
    assert groups[0] == groups[1] != groups[2]  # congruent to the first is not the same fact


def test_plots_color_the_residues():
    task = EquivalenceClasses()
    assert task.structure == "classes" and task.group_kind == "categorical"
    assert task.token_groups.tolist() == [value % 5 for value in range(40)]
    assert task.edges.shape == (0, 2)


def test_bad_arguments_are_refused_by_value():
    with pytest.raises(ValueError, match=r"modulus must be .* at least 2, not 1"):
        EquivalenceClasses(modulus=1)
    with pytest.raises(ValueError, match=r"size must be .* at least 5, not 4"):
        EquivalenceClasses(size=4)
