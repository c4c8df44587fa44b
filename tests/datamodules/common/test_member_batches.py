"""Batches that are made step by step are read like the tensors in whose place they stand."""

import pytest
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device

from datamodules.common.member_batches import GatheredBatches


def gathered(steps=5, members=4, batch=6, size=30, seed=0):
    """Batches, and the tensor that they stand for."""
    rng = torch.Generator().manual_seed(seed)
    examples = torch.rand(size, 3, 2, generator=rng)
    order = torch.randint(size, (steps, members, batch), generator=rng)
    return GatheredBatches(examples, order), examples[order]


def test_a_step_is_the_tensor_s_and_len_the_number_of_steps():
    batches, tensor = gathered()
    assert len(batches) == len(tensor) == 5
    for i in (0, 3, 4, -1, -5):
        assert torch.equal(batches[i], tensor[i])
    assert torch.equal(torch.stack(list(batches)), tensor)


@pytest.mark.parametrize("step", [5, -6])
def test_a_step_beyond_the_last_is_none(step):
    with pytest.raises(IndexError):
        gathered()[0][step]


@pytest.mark.parametrize(
    "key",
    [
        slice(1, 4),
        (slice(None, 3), slice(1, 3)),
        (slice(None), slice(2, None)),
        (slice(None), slice(None), slice(1, None, 2)),
        (slice(4, None), slice(0, 1), slice(2, 5)),
    ],
    ids=str,
)
def test_parts_are_those_of_the_tensor_and_leave_the_whole_as_it_was(key):
    batches, tensor = gathered()
    part = batches[key]
    assert len(part) == len(tensor[key])
    assert torch.equal(torch.stack(list(part)), tensor[key])
    assert torch.equal(torch.stack(list(batches)), tensor)


def test_parts_of_parts_count_from_their_own_start():
    batches, tensor = gathered(steps=9, members=8)
    part = batches[2:, 3:][1:6, 1:4, ::2]
    assert torch.equal(torch.stack(list(part)), tensor[2:, 3:][1:6, 1:4, ::2])


def test_where_there_is_no_example_stands_the_first():
    examples = torch.arange(10.0, 14.0)
    batches = GatheredBatches(examples, torch.tensor([[[3, -1]]]))
    assert batches[0].tolist() == [[13.0, 10.0]]


def test_lightning_moves_them_with_the_batch_and_copies_nothing_that_is_there():
    batches, _ = gathered()
    moved = move_data_to_device({"inputs": batches, "targets": torch.ones(1)}, torch.device("cpu"))
    assert moved["inputs"].source is batches.source
    elsewhere = move_data_to_device({"inputs": batches}, torch.device("meta"))["inputs"]
    assert elsewhere[0].device.type == "meta" and elsewhere[0].shape == batches[0].shape
    assert batches[0].device.type == "cpu"
