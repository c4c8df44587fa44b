import pytest

from datamodules.tasks import GreaterThan


@pytest.mark.parametrize("size", [2, 9, 30])
def test_table_is_the_rule_for_every_pair(size):
    table = {}
    for x in range(size):
        for y in range(size):
            table[x, y] = size + 1 if x > y else size
    inputs, answers = GreaterThan(size).examples()
    assert dict(zip(map(tuple, inputs.tolist()), answers.tolist(), strict=True)) == table


def test_published_sizes():
    task = GreaterThan()
    assert (len(task.examples()[1]), task.vocab_size, task.num_inputs) == (900, 32, 2)


def test_the_answer_tokens_are_named_and_carry_no_structure():
    task = GreaterThan()
    assert task.token_labels[29:] == ["29", "<=", ">"]
    assert task.embedding_tokens.tolist() == list(range(30))


def test_plots_join_successive_numbers():
    task = GreaterThan()
    assert task.structure == "line" and task.group_kind == "sequential"
    assert task.token_groups.tolist() == list(range(30))
    assert task.edges.tolist() == [[value, value + 1] for value in range(29)]


@pytest.mark.parametrize("size", [1, 0])
def test_a_bad_size_is_refused_by_value(size):
    with pytest.raises(ValueError, match=f"size must be .* at least 2, not {size}"):
        GreaterThan(size)
