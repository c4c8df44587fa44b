"""Lazy batches can be used like the tensors they stand in for."""

import pytest
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device

from datamodules import (
    MNIST,
    AlgorithmicData,
    CircularFeatures,
    SparseFeatures,
    ToyPoints,
)
from datamodules.common.member_batches import GatheredBatches, SingleBatchLoader


def gathered(steps=5, members=4, batch=6, size=30):
    """Batches, and the equivalent tensor."""
    rng = torch.Generator().manual_seed(0)
    examples = torch.rand(size, 3, 2, generator=rng)
    order = torch.randint(size, (steps, members, batch), generator=rng)
    return GatheredBatches(examples, order), examples[order]


def test_steps_and_length_are_those_of_the_tensor():
    batches, tensor = gathered()
    assert len(batches) == len(tensor) == 5
    for i in (0, 3, 4, -1, -5):
        assert torch.equal(batches[i], tensor[i])
    assert torch.equal(torch.stack(list(batches)), tensor)
    for step in (5, -6):
        with pytest.raises(IndexError):
            batches[step]


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
def test_slices_are_those_of_the_tensor_and_leave_the_whole_unchanged(key):
    batches, tensor = gathered()
    part = batches[key]
    assert len(part) == len(tensor[key])
    assert torch.equal(torch.stack(list(part)), tensor[key])
    assert torch.equal(torch.stack(list(batches)), tensor)


def test_slices_can_be_sliced():
    batches, tensor = gathered(steps=9, members=8)
    part = batches[2:, 3:][1:6, 1:4, ::2]
    assert torch.equal(torch.stack(list(part)), tensor[2:, 3:][1:6, 1:4, ::2])


def test_padding_gathers_the_first_example():
    batches = GatheredBatches(torch.arange(10.0, 14.0), torch.tensor([[[3, -1]]]))
    assert batches[0].tolist() == [[13.0, 10.0]]


def test_lightning_moves_them_and_copies_nothing_that_is_on_the_device():
    batches, _ = gathered()
    moved = move_data_to_device({"inputs": batches, "targets": torch.ones(1)}, torch.device("cpu"))
    assert moved["inputs"].source is batches.source
    elsewhere = move_data_to_device({"inputs": batches}, torch.device("meta"))["inputs"]
    assert elsewhere[0].device.type == "meta" and elsewhere[0].shape == batches[0].shape
    assert batches[0].device.type == "cpu"


def test_a_single_batch_is_built_when_iteration_starts():
    epoch = 0
    loader = SingleBatchLoader(lambda: epoch)
    iterator, epoch = iter(loader), 3
    assert list(iterator) == [3] and len(loader) == 1


@pytest.mark.parametrize(
    "cls", [AlgorithmicData, CircularFeatures, MNIST, SparseFeatures, ToyPoints]
)
def test_a_loader_before_setup_is_an_error(cls):
    # Immediately, not when iterated: Lightning's command line asks for loaders when it prints.
    with pytest.raises(RuntimeError, match="setup"):
        cls().train_dataloader()
    if cls is not AlgorithmicData:
        for name in ("val_dataloader", "test_dataloader", "predict_dataloader"):
            with pytest.raises(RuntimeError, match="setup"):
                getattr(cls(), name)()
