"""The interface of tasks, checked on every task defined in datamodules/tasks."""

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


@each_task
def test_class_attributes_and_docstring_are_complete(task):
    assert isinstance(task.name, str) and task.name.isidentifier()
    assert isinstance(task.symmetric, bool)
    assert task.structure in get_args(Structure), (
        f"unknown structure {task.structure!r}; choose one of {get_args(Structure)}, or add it to "
        f"Structure in datamodules/tasks/task.py and its metric to callbacks/probes"
    )
    assert task.group_kind in get_args(GroupKind)
    assert task.num_classes == task.vocab_size
    for heading in ("Rule:", "Vocabulary:", "Structure:", "Source:", "Args:"):
        # Its own docstring: inspect.getdoc would return Task's for a task without one.
        assert heading in (type(task).__doc__ or ""), (
            f"the docstring of {type(task).__name__} has no {heading!r}; add a paragraph that "
            f"begins with it, as in datamodules/tasks/modular_addition.py"
        )


@each_task
def test_examples_are_distinct_int64_in_the_vocabulary_and_in_a_fixed_order(task):
    inputs, answers = task.examples()
    assert inputs.dtype == answers.dtype == torch.int64
    assert inputs.shape == (len(answers), task.num_inputs)
    assert len(set(map(tuple, inputs.tolist()))) == len(answers)
    for tokens in (inputs, answers):
        assert tokens.min() >= 0 and tokens.max() < task.vocab_size
    assert all(torch.equal(a, b) for a, b in zip(task.examples(), (inputs, answers), strict=True))


@each_task
def test_a_draw_is_a_function_of_the_generator_with_entries_of_the_table(task):
    def draw(seed):
        return task.draw(700, torch.Generator().manual_seed(seed))

    before = torch.get_rng_state()
    drawn = draw(3)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(drawn, draw(3), strict=True))
    assert not torch.equal(drawn[0], draw(4)[0])
    inputs, answers = task.examples()
    table = dict(zip(map(tuple, inputs.tolist()), answers.tolist(), strict=True))
    for example, answer in zip(drawn[0].tolist(), drawn[1].tolist(), strict=True):
        assert table[tuple(example)] == answer


@each_task
def test_a_fact_is_what_swapping_the_last_two_tokens_of_a_symmetric_task_preserves(task):
    inputs, answers = task.examples()
    ids = task.equivalent_inputs(inputs)
    assert ids.shape == (len(inputs),) and ids.dtype == torch.int64
    assert torch.equal(task.equivalent_inputs(inputs[7:19]), ids[7:19])
    facts = dict(zip(map(tuple, inputs.tolist()), ids.tolist(), strict=True))
    sizes, answer_of = Counter(facts.values()), {}
    for (example, fact), answer in zip(facts.items(), answers.tolist(), strict=True):
        assert answer_of.setdefault(fact, answer) == answer
        *first, x, y = example
        if task.symmetric:
            assert facts[(*first, y, x)] == fact
        assert sizes[fact] == (2 if task.symmetric and x != y else 1)


@each_task
def test_plot_labels_groups_and_edges_are_unique_and_in_range(task):
    labels = task.token_labels
    assert all(isinstance(label, str) and label for label in labels)
    assert len(labels) == len(set(labels)) == task.vocab_size
    tokens, groups, edges = task.embedding_tokens, task.token_groups, task.edges
    assert tokens.dtype == groups.dtype == edges.dtype == torch.int64
    assert tokens.ndim == 1 and groups.shape == tokens.shape
    assert len(set(tokens.tolist())) == len(tokens)
    assert set(tokens.tolist()) <= set(range(task.vocab_size))
    # Colors are counted from 0 without gaps.
    assert set(groups.tolist()) == set(range(int(groups.max()) + 1))
    assert edges.ndim == 2 and edges.shape[1] == 2
    assert set(edges.flatten().tolist()) <= set(range(len(tokens)))
    assert len({frozenset(edge) for edge in edges.tolist()}) == len(edges)
    assert all(a != b for a, b in edges.tolist())


@pytest.mark.parametrize("count", [0, -3, 2.5])
def test_the_size_of_a_draw_is_at_least_one(count):
    with pytest.raises(ValueError, match="num_samples"):
        Genealogy().draw(count, torch.Generator())
