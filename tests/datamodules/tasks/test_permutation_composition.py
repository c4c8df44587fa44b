"""Composition of permutations, against the labels in one-line notation."""

import pytest
import torch

from datamodules.tasks import PermutationComposition


@pytest.mark.parametrize("degree", [2, 3, 4])
def test_table_is_the_composition_of_every_pair(degree):
    task = PermutationComposition(degree)
    label = task.token_labels
    inputs, answers = task.examples()
    assert len(answers) == len(label) ** 2
    for (x, y), answer in zip(inputs.tolist(), answers.tolist(), strict=True):
        outer, inner = label[x], label[y]
        assert label[answer] == "".join(outer[int(image)] for image in inner)


def test_tokens_are_in_lexicographic_order_from_the_identity():
    labels = PermutationComposition().token_labels
    assert labels == sorted(labels)
    assert labels[:3] == ["0123", "0132", "0213"] and "2031" in labels
    assert all(sorted(label) == list("0123") for label in labels)


def test_a_draw_is_the_whole_table_for_any_size():
    task = PermutationComposition()
    inputs, answers = task.examples()
    for num_samples in (1, 1000):
        drawn, drawn_answers = task.draw(num_samples, torch.Generator().manual_seed(1))
        order = task.input_ids(drawn).argsort()
        assert not torch.equal(drawn, inputs)
        assert torch.equal(drawn[order], inputs)
        assert torch.equal(drawn_answers[order], answers)


def test_plots_color_parity():
    task = PermutationComposition()
    assert task.structure == "cosets" and task.group_kind == "categorical"
    for label, parity in zip(task.token_labels, task.token_groups.tolist(), strict=True):
        # A permutation of n items with c cycles is a product of n - c transpositions.
        unseen, cycles = set(range(4)), 0
        while unseen:
            cycles += 1
            place = unseen.pop()
            while (place := int(label[place])) in unseen:
                unseen.remove(place)
        assert parity == (4 - cycles) % 2
    assert task.edges.shape == (0, 2)


@pytest.mark.parametrize("degree", [1, 7])
def test_degrees_out_of_range_are_errors(degree):
    with pytest.raises(ValueError, match="degree"):
        PermutationComposition(degree)
