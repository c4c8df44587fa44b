"""What every task promises, checked on every task that a file of datamodules/tasks defines."""

import inspect
from collections import Counter
from typing import get_args

import pytest
import torch

import datamodules.tasks
from datamodules.tasks import Genealogy, Task
from datamodules.tasks.task import GroupKind, Structure
from tests.helpers.package_files import classes

CLASSES = classes(datamodules.tasks, Task)
TASKS = [*(cls() for cls in CLASSES), Genealogy(protocol="code")]
each_task = pytest.mark.parametrize(
    "task", TASKS, ids=lambda task: task.name + getattr(task, "protocol", "")
)


def test_names_are_unique():
    assert len({cls.name for cls in CLASSES}) == len(CLASSES) >= 6


def test_the_base_class_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Task()


@each_task
def test_class_attributes_are_stated(task):
    assert isinstance(task.name, str) and task.name.isidentifier()
    assert isinstance(task.symmetric, bool)
    assert task.structure in get_args(Structure), (
        f"{task.structure!r} is no structure; take one of {get_args(Structure)}, or add it to "
        f"Structure in datamodules/tasks/task.py and its score to callbacks/structure.py"
    )
    assert task.group_kind in get_args(GroupKind)
    assert task.num_classes == task.vocab_size


@each_task
def test_docstring_states_rule_vocabulary_structure_source_and_arguments(task):
    for heading in ("Rule:", "Vocabulary:", "Structure:", "Source:", "Args:"):
        # Its own docstring: inspect.getdoc would give Task's to a task without one.
        assert heading in (type(task).__doc__ or ""), (
            f"the docstring of {type(task).__name__} has no {heading!r}; write a paragraph that "
            f"begins so, as in datamodules/tasks/modular_addition.py"
        )


@each_task
def test_examples_are_distinct_int64_and_inside_the_vocabulary(task):
    inputs, answers = task.examples()
    assert inputs.dtype == answers.dtype == torch.int64
    assert inputs.shape == (len(answers), task.num_inputs)
    assert len(set(map(tuple, inputs.tolist()))) == len(answers)
    for tokens in (inputs, answers):
        assert tokens.min() >= 0 and tokens.max() < task.vocab_size


@each_task
def test_examples_come_in_a_fixed_order(task):
    for first, second in zip(task.examples(), task.examples(), strict=True):
        assert torch.equal(first, second)


@each_task
def test_a_draw_is_a_function_of_the_generator(task):
    def draw(seed):
        return task.draw(50, torch.Generator().manual_seed(seed))

    assert all(torch.equal(a, b) for a, b in zip(draw(3), draw(3), strict=True))
    assert not torch.equal(draw(3)[0], draw(4)[0])


@each_task
def test_a_draw_leaves_the_global_random_state_alone(task):
    before = torch.get_rng_state()
    task.draw(50, torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.get_rng_state())


@each_task
def test_drawn_examples_are_entries_of_the_table(task):
    inputs, answers = task.examples()
    table = dict(zip(map(tuple, inputs.tolist()), answers.tolist(), strict=True))
    inputs, answers = task.draw(700, torch.Generator().manual_seed(0))
    for example, answer in zip(inputs.tolist(), answers.tolist(), strict=True):
        assert table[tuple(example)] == answer


@each_task
def test_equivalent_inputs_share_an_answer(task):
    inputs, answers = task.examples()
    answer_of = {}
    for group, answer in zip(
        task.equivalent_inputs(inputs).tolist(), answers.tolist(), strict=True
    ):
        assert answer_of.setdefault(group, answer) == answer


@each_task
def test_only_a_symmetric_task_has_groups_of_more_than_one_input(task):
    inputs, _ = task.examples()
    groups = task.equivalent_inputs(inputs)
    assert groups.shape == (len(inputs),) and groups.dtype == torch.int64
    assert (max(Counter(groups.tolist()).values()) > 1) == task.symmetric


@each_task
def test_a_group_is_exactly_what_swapping_the_last_two_tokens_joins(task):
    inputs, _ = task.examples()
    groups = dict(
        zip(map(tuple, inputs.tolist()), task.equivalent_inputs(inputs).tolist(), strict=True)
    )
    members = Counter(groups.values())
    for example, group in groups.items():
        if task.symmetric:
            *first, x, y = example
            assert groups[(*first, y, x)] == group
            assert members[group] == (1 if x == y else 2)
        else:
            assert members[group] == 1


@each_task
def test_group_ids_depend_on_the_input_alone(task):
    inputs, _ = task.examples()
    groups = task.equivalent_inputs(inputs)
    assert torch.equal(task.equivalent_inputs(inputs[7:19]), groups[7:19])


@each_task
def test_plot_labels_are_unique_and_cover_the_vocabulary(task):
    labels = task.token_labels
    assert all(isinstance(label, str) and label for label in labels)
    assert len(labels) == len(set(labels)) == task.vocab_size


@each_task
def test_plot_tensors_have_matching_shapes(task):
    tokens, groups = task.embedding_tokens, task.token_groups
    assert tokens.dtype == groups.dtype == torch.int64
    assert tokens.ndim == 1 and groups.shape == tokens.shape
    assert tokens.min() >= 0 and tokens.max() < task.vocab_size
    assert len(set(tokens.tolist())) == len(tokens)
    # Colors are counted from 0 without gaps.
    assert set(groups.tolist()) == set(range(int(groups.max()) + 1))


@each_task
def test_edges_join_different_embedding_positions_once(task):
    edges = task.edges
    assert edges.dtype == torch.int64 and edges.ndim == 2 and edges.shape[1] == 2
    if len(edges):
        assert edges.min() >= 0 and edges.max() < len(task.embedding_tokens)
    assert len({frozenset(edge) for edge in edges.tolist()}) == len(edges)
    assert all(a != b for a, b in edges.tolist())


@each_task
def test_repr_shows_arguments_and_sizes(task):
    text = repr(task)
    assert text.startswith(type(task).__name__ + "(")
    for argument in inspect.signature(type(task)).parameters:
        assert f"{argument}={getattr(task, argument)!r}" in text
    assert f"{len(task.examples()[1])} examples" in text


@pytest.mark.parametrize("count", [0, -3, 2.5])
def test_a_draw_of_nothing_is_refused(count):
    with pytest.raises(ValueError, match=f"num_samples.*at least 1, not {count}"):
        Genealogy().draw(count, torch.Generator())
