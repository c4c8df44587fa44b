import pytest
import torch

from datamodules.tasks import ModularAddition


@pytest.mark.parametrize("modulus", [2, 7, 31])
def test_table_is_the_rule_for_every_pair(modulus):
    inputs, answers = ModularAddition(modulus).examples()
    table = {(x, y): (x + y) % modulus for x in range(modulus) for y in range(modulus)}
    assert dict(zip(map(tuple, inputs.tolist()), answers.tolist(), strict=True)) == table


def test_published_sizes():
    task = ModularAddition()
    assert (len(task.examples()[1]), task.vocab_size, task.num_inputs) == (961, 31, 2)


def test_swapped_pairs_share_a_group_and_others_do_not():
    first, second, other = ModularAddition().equivalent_inputs(
        torch.tensor([[3, 20], [20, 3], [2, 21]])
    )
    assert first == second
    assert first != other  # the same sum is not the same fact


def test_plots_show_one_cyclic_color_per_number_and_no_lines():
    task = ModularAddition()
    assert task.structure == "circle" and task.group_kind == "cyclic"
    assert task.embedding_tokens.tolist() == task.token_groups.tolist() == list(range(31))
    assert task.token_labels[7] == "7"
    assert task.edges.shape == (0, 2)


@pytest.mark.parametrize("modulus", [1, 0, -5, 2.5, True])
def test_a_bad_modulus_is_refused_by_value(modulus):
    with pytest.raises(ValueError, match=f"modulus must be .* at least 2, not {modulus}"):
        ModularAddition(modulus)
