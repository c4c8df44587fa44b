"""The order of the data is a pure function of seed and epoch and shows every example once."""

import random

import numpy as np
import pytest
import torch

from datamodules.common.order import (
    RandomStream,
    accumulation,
    epoch_batches,
    epoch_order,
    generator,
    micro_batches,
)


def draws(*arguments):
    return torch.randint(2**40, (8,), generator=generator(*arguments)).tolist()


def test_a_generator_is_reproducible_and_depends_on_every_argument():
    arguments = [(seed, stream, n) for seed in (0, 1, 2) for stream in RandomStream for n in (0, 1)]
    streams = [draws(*each) for each in arguments]
    assert streams == [draws(*each) for each in arguments]
    values = [value for stream in streams for value in stream]
    assert len(set(values)) == len(values)


def test_numbers_of_streams_are_those_of_earlier_versions():
    # Stored results depend on them.
    assert [int(stream) for stream in RandomStream] == [0, 1, 2, 3, 4]
    assert epoch_order(3, 2, 8).tolist() == [6, 3, 7, 2, 5, 1, 4, 0]


def test_a_negative_seed_is_an_error():
    with pytest.raises(ValueError, match="non-negative"):
        generator(-1, RandomStream.SPLIT)


def test_global_generators_are_neither_read_nor_advanced():
    def orders():
        return epoch_batches([3, 4], 5, [50, 50], 8), epoch_order(7, 1, 20)

    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first = orders()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    assert random.getstate() == states[2]
    torch.manual_seed(2), np.random.seed(2), random.seed(2)
    assert all(torch.equal(a, b) for a, b in zip(first, orders(), strict=True))


def test_orders_are_uniform_permutations():
    # The place of example 0 over 2000 epochs: uniform over 10 places within 5 sigma.
    places = [0] * 10
    for epoch in range(2000):
        order = epoch_order(0, epoch, 10).tolist()
        assert sorted(order) == list(range(10))
        places[order.index(0)] += 1
    assert all(abs(count - 200) < 5 * (2000 * 0.1 * 0.9) ** 0.5 for count in places)


@pytest.mark.parametrize(
    ("sizes", "batch_size", "steps"),
    [([800, 800], 32, 25), ([768], 32, 24), ([769], 32, 25), ([5], 32, 1), ([10, 7, 3], 4, 3)],
)
def test_every_member_sees_every_example_once_and_then_padding(sizes, batch_size, steps):
    batches = epoch_batches(list(range(len(sizes))), 2, sizes, batch_size)
    assert batches.shape == (steps, len(sizes), batch_size)
    for member, size in enumerate(sizes):
        order = batches[:, member].flatten().tolist()
        assert order[:size] == epoch_order(member, 2, size).tolist()
        assert order[size:] == [-1] * (steps * batch_size - size)


def test_a_size_for_every_seed_is_required():
    with pytest.raises(ValueError):
        epoch_batches([0, 1], 0, [10], 4)


# ---- global batches and micro-batches --------------------------------------------------------


@pytest.mark.parametrize(
    ("global_batch", "micro", "world", "expected"),
    [(480, 12, 1, 40), (480, 12, 8, 5), (480, 60, 8, 1), (16, 16, 1, 1), (6, 1, 3, 2)],
)
def test_accumulation_is_the_global_batch_over_what_the_ranks_hold(
    global_batch, micro, world, expected
):
    assert accumulation(global_batch, micro, world) == expected


@pytest.mark.parametrize(
    ("global_batch", "micro", "world"),
    [(16, 5, 1), (480, 7, 8), (16, 32, 1), (16, 1, 3), (2, 1, 4)],
)
def test_an_indivisible_global_batch_is_an_error_that_lists_valid_sizes(global_batch, micro, world):
    with pytest.raises(ValueError, match="global_batch_size") as error:
        accumulation(global_batch, micro, world)
    sizes = str(error.value).rpartition(": ")[2]
    if global_batch % world:
        assert sizes.startswith("none")
    else:
        valid = [n for n in range(1, global_batch + 1) if global_batch % (n * world) == 0]
        assert list(map(int, sizes.split(", "))) == valid


@pytest.mark.parametrize(
    ("world", "micro"), [(1, 1), (1, 6), (1, 12), (2, 1), (2, 3), (3, 4), (12, 1)]
)
def test_ranks_divide_the_global_batch_of_a_step(world, micro):
    order = epoch_order(0, 0, 40)
    for step in range(3):
        parts = [micro_batches(order, step, 12, micro, rank, world) for rank in range(world)]
        assert all(part.shape == (12 // world // micro, micro) for part in parts)
        assert sorted(torch.cat([part.flatten() for part in parts]).tolist()) == sorted(
            order[12 * step : 12 * step + 12].tolist()
        )
