"""The table of family relations against a tree that is grown node by node."""

import pytest

from datamodules.tasks import Genealogy


def family(depth):
    """Parent of every node, by growing the tree from the root."""
    parent, generation, next_node = {}, [1], 2
    for _ in range(depth - 1):
        children = []
        for node in generation:
            for _ in range(2):
                parent[next_node] = node
                children.append(next_node)
                next_node += 1
        generation = children
    return parent


def facts(depth):
    parent = family(depth)
    for node, mother in parent.items():
        yield node, "parent", mother
        if mother in parent:
            yield node, "grandparent", parent[mother]
        for other in (node - 1, node + 1):
            if parent.get(other) == mother:
                yield node, "sibling", other


def named_facts(task):
    """The table in plot labels, which are node numbers and relation names."""
    inputs, answers = task.examples()
    label = task.token_labels
    return {
        (label[node], label[relation], label[answer])
        for (node, relation), answer in zip(inputs.tolist(), answers.tolist(), strict=True)
    }


@pytest.mark.parametrize("depth", [2, 3, 7])
def test_paper_table_is_every_relation_in_the_tree(depth):
    expected = {(str(node), relation, str(other)) for node, relation, other in facts(depth)}
    assert named_facts(Genealogy(depth)) == expected


@pytest.mark.parametrize("depth", [2, 3, 7])
def test_code_table_lacks_the_last_node_and_answers_a_sibling_with_a_relation(depth):
    last = 2**depth - 1
    expected = {
        (str(node), relation, "parent" if other == last else str(other))
        for node, relation, other in facts(depth)
        if node != last
    }
    assert (str(last - 1), "sibling", "parent") in expected
    assert named_facts(Genealogy(depth, "code")) == expected


def test_token_numbers_of_the_two_protocols():
    paper, code = Genealogy(), Genealogy(protocol="code")
    assert paper.embedding_tokens.tolist() == list(range(127))
    assert code.embedding_tokens.tolist() == list(range(1, 127))
    assert paper.token_labels[:2] == ["1", "2"] and code.token_labels[:2] == ["unused", "1"]
    for task in (paper, code):
        assert task.token_labels[127:] == ["parent", "grandparent", "sibling"]
        assert task.examples()[0][:, 1].unique().tolist() == [127, 128, 129]


@pytest.mark.parametrize("protocol", ["paper", "code"])
def test_plots_show_generations_and_the_branches_of_the_tree(protocol):
    task = Genealogy(protocol=protocol)
    parent = family(7)
    nodes = [int(task.token_labels[token]) for token in task.embedding_tokens]

    def distance_from_root(node):
        return 0 if node == 1 else 1 + distance_from_root(parent[node])

    assert task.structure == "tree"
    assert task.token_groups.tolist() == [distance_from_root(node) for node in nodes]
    assert task.generations.tolist() == task.token_groups.tolist()
    branches = {(nodes[upper], nodes[lower]) for upper, lower in task.edges.tolist()}
    assert branches == {(parent[node], node) for node in nodes if node in parent}


@pytest.mark.parametrize(("option", "value"), [("depth", 1), ("protocol", "papers")])
def test_options_out_of_range_are_errors(option, value):
    with pytest.raises(ValueError, match=option):
        Genealogy(**{option: value})
