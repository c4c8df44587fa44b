"""The order of the data is a pure function of seed and epoch, and shows every example once."""

import random

import numpy as np
import pytest
import torch

from datamodules.common.order import (
    ORDER,
    SPLIT,
    accumulation,
    epoch_batches,
    epoch_order,
    generator,
    micro_batches,
)


def draws(*arguments):
    return torch.randint(2**40, (8,), generator=generator(*arguments)).tolist()


def test_a_generator_repeats_itself_and_differs_in_every_argument():
    arguments = [
        (seed, stream, n) for seed in (0, 1, 2) for stream in (SPLIT, ORDER) for n in (0, 1)
    ]
    streams = [draws(*each) for each in arguments]
    assert streams == [draws(*each) for each in arguments]
    values = [value for stream in streams for value in stream]
    assert len(set(values)) == len(values)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="non-negative"):
        generator(-1, SPLIT)


def test_the_global_generators_are_neither_read_nor_moved():
    def everything():
        order = epoch_batches([3, 4], 5, [50, 50], 8)
        return order, epoch_order(7, 1, 20), torch.tensor(draws(1, SPLIT))

    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first = everything()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    assert random.getstate() == states[2]
    torch.manual_seed(2), np.random.seed(2), random.seed(2)
    assert all(torch.equal(a, b) for a, b in zip(first, everything(), strict=True))


@pytest.mark.parametrize("size", [1, 2, 31, 800])
def test_an_epoch_s_order_is_a_permutation(size):
    assert sorted(epoch_order(3, 4, size).tolist()) == list(range(size))


def test_orders_are_shuffled_evenly():
    # Where example 0 lands, over 2000 epochs: uniform over 10 places within 5 sigma.
    places = [0] * 10
    for epoch in range(2000):
        places[epoch_order(0, epoch, 10).tolist().index(0)] += 1
    assert all(abs(count - 200) < 5 * (2000 * 0.1 * 0.9) ** 0.5 for count in places)


@pytest.mark.parametrize(
    ("sizes", "batch_size", "steps"),
    [([800, 800], 32, 25), ([768], 32, 24), ([769], 32, 25), ([5], 32, 1), ([10, 7, 3], 4, 3)],
)
def test_every_member_sees_every_example_once_and_the_rest_is_minus_one(sizes, batch_size, steps):
    seeds = list(range(len(sizes)))
    batches = epoch_batches(seeds, 2, sizes, batch_size)
    assert batches.shape == (steps, len(sizes), batch_size)
    assert batches.dtype == torch.int64
    for member, size in enumerate(sizes):
        order = batches[:, member].flatten().tolist()  # the steps one after another
        assert sorted(order[:size]) == list(range(size))
        assert order[size:] == [-1] * (steps * batch_size - size)


def test_a_member_s_batches_are_those_it_would_have_alone():
    together = epoch_batches([4, 9, 1], 6, [100, 100, 100], 32)
    for member, seed in enumerate([4, 9, 1]):
        assert torch.equal(together[:, member], epoch_batches([seed], 6, [100], 32)[:, 0])


def test_seeds_and_epochs_have_orders_of_their_own_that_can_be_repeated():
    orders = {
        (seed, epoch): epoch_batches([seed], epoch, [64], 16).flatten().tolist()
        for seed in range(4)
        for epoch in range(4)
    }
    assert len({tuple(order) for order in orders.values()}) == len(orders)
    for (seed, epoch), order in orders.items():
        assert epoch_batches([seed], epoch, [64], 16).flatten().tolist() == order


def test_batches_of_an_epoch_hold_other_examples_than_those_of_the_next():
    first, second = (
        [set(batch.tolist()) for batch in epoch_batches([0], epoch, [800], 32)[:, 0]]
        for epoch in (0, 1)
    )
    # Two random batches of 32 out of 800 share 1.3 examples on average.
    shared = [len(a & b) for a in first for b in second]
    assert max(shared) < 10


def test_a_size_for_every_seed_is_required():
    with pytest.raises(ValueError):
        epoch_batches([0, 1], 0, [10], 4)


# ---- global batches and micro-batches --------------------------------------------------------


@pytest.mark.parametrize(
    ("global_batch", "micro", "world", "expected"),
    [(480, 12, 1, 40), (480, 12, 8, 5), (480, 60, 8, 1), (16, 16, 1, 1), (6, 1, 3, 2)],
)
def test_accumulation_follows_from_global_batch_micro_batch_and_ranks(
    global_batch, micro, world, expected
):
    assert accumulation(global_batch, micro, world) == expected


@pytest.mark.parametrize(
    ("global_batch", "micro", "world", "parts"),
    [
        (
            16,
            5,
            1,
            ["global_batch_size 16", "micro_batch_size 5 times 1 device;", "1, 2, 4, 8, 16"],
        ),
        (480, 7, 8, ["micro_batch_size 7 times 8 devices", "1, 2, 3, 4, 5, 6, 10, 12, 15, 20"]),
        (16, 32, 1, ["no multiple of micro_batch_size 32", "1, 2, 4, 8, 16"]),
        (16, 1, 3, ["none: change the devices or the global batch"]),
        (2, 1, 4, ["none: change the devices or the global batch"]),
    ],
)
def test_a_global_batch_that_does_not_divide_is_refused_with_sizes_that_do(
    global_batch, micro, world, parts
):
    with pytest.raises(ValueError) as refusal:
        accumulation(global_batch, micro, world)
    message = str(refusal.value)
    assert all(part in message for part in parts) and "\n" not in message
    numbers = message.rpartition(": ")[2]
    for size in [] if "none" in message else map(int, numbers.split(", ")):
        assert accumulation(global_batch, size, world) * size * world == global_batch


@pytest.mark.parametrize(
    ("world", "micro"), [(1, 1), (1, 6), (1, 12), (2, 1), (2, 3), (3, 4), (12, 1)]
)
def test_ranks_divide_a_step_s_global_batch_among_them(world, micro):
    order = epoch_order(0, 0, 40)
    for step in range(3):
        parts = [micro_batches(order, step, 12, micro, rank, world) for rank in range(world)]
        assert all(part.shape == (12 // world // micro, micro) for part in parts)
        assert sorted(torch.cat([part.flatten() for part in parts]).tolist()) == sorted(
            order[12 * step : 12 * step + 12].tolist()
        )
