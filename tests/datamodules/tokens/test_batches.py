"""Which windows each rank sees at which step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datamodules.tokens.batches import HeldOutBatches, TrainingBatches, token_batch
from datamodules.tokens.shards import TokenShards

BLOCK = 16


@pytest.fixture
def train(token_folder):
    return TokenShards(token_folder(train=38), "train")


@pytest.fixture
def held_out(token_folder):
    return TokenShards(token_folder(val=7), "val")


def training(shards, micro=12, rank=0, world=1, step=lambda: 0, seed=5, global_batch=12):
    return TrainingBatches(shards, BLOCK, seed, global_batch, micro, rank, world, step)


def rows(batches) -> list[tuple[int, ...]]:
    """Windows as tuples of ids, in order. All windows of these tokens differ."""
    return [tuple(row) for batch in batches for row in batch["inputs"].tolist()]


def windows_of_file(shards) -> list[tuple[int, ...]]:
    tokens = np.fromfile(shards.paths[0], "<u2").tolist()
    return [tuple(tokens[i : i + BLOCK]) for i in range(0, len(tokens) - BLOCK, BLOCK)]


def steps_of(shards, world, micro, **options) -> list[set[tuple[int, ...]]]:
    """The global batch of every step as a set, joined from those of the ranks."""
    ranks = [rows(training(shards, micro, rank, world, **options)) for rank in range(world)]
    each = 12 // world  # windows per rank and step
    assert len({len(r) for r in ranks}) == 1
    return [
        {window for r in ranks for window in r[start : start + each]}
        for start in range(0, len(ranks[0]), each)
    ]


# ---- training --------------------------------------------------------------------------------


def test_targets_are_the_tokens_after_the_inputs(train):
    tokens = np.fromfile(train.paths[0], "<u2").tolist()
    following = {
        tuple(tokens[i : i + BLOCK]): tokens[i + 1 : i + 1 + BLOCK]
        for i in range(0, len(tokens) - BLOCK, BLOCK)
    }
    for batch in training(train, micro=4):
        assert batch["inputs"].shape == batch["targets"].shape == (4, BLOCK)
        assert batch["inputs"].dtype == batch["targets"].dtype == torch.int64
        for row, target in zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True):
            assert following[tuple(row)] == target


def test_an_epoch_has_distinct_windows_and_all_but_less_than_a_global_batch(train):
    seen = rows(training(train))
    assert len(seen) == len(set(seen)) == 36  # 38 windows, 3 steps of 12
    assert set(seen) <= set(windows_of_file(train))


def test_several_epochs_have_all_windows(train):
    per_epoch = [set(rows(training(train, step=lambda e=e: 3 * e))) for e in range(6)]
    assert set.union(*per_epoch) == set(windows_of_file(train))


@pytest.mark.parametrize(
    ("world", "micro"), [(1, 1), (1, 2), (1, 4), (2, 1), (2, 3), (2, 6), (3, 1), (3, 2), (3, 4)]
)
def test_a_global_batch_is_the_same_for_any_number_of_ranks_and_any_micro_batch(
    train, world, micro
):
    reference = steps_of(train, 1, 12)
    assert [len(batch) for batch in reference] == [12, 12, 12]
    assert steps_of(train, world, micro) == reference


def test_order_is_a_function_of_seed_and_epoch(train):
    orders = {}
    for seed in (0, 1):
        for epoch in (0, 1, 2):
            torch.manual_seed(len(orders))
            orders[seed, epoch] = rows(training(train, seed=seed, step=lambda e=epoch: 3 * e))
    assert len({tuple(order) for order in orders.values()}) == 6
    for (seed, epoch), order in orders.items():
        assert rows(training(train, seed=seed, step=lambda e=epoch: 3 * e)) == order


@pytest.mark.parametrize("step", [0, 1, 2, 3, 5, 7])
@pytest.mark.parametrize(("world", "micro"), [(1, 4), (2, 3)])
def test_batches_start_at_the_current_step(train, step, world, micro):
    epoch, done = divmod(step, 3)
    for rank in range(world):
        whole = rows(training(train, micro, rank, world, step=lambda: 3 * epoch))
        rest = rows(training(train, micro, rank, world, step=lambda: step))
        assert rest == whole[done * 12 // world :]


def test_the_step_is_read_when_iteration_starts(train):
    step = 0
    iterator = iter(training(train, micro=4, step=lambda: step))
    step = 2  # Lightning creates iterators before it restores its counters
    assert rows(iterator) == rows(training(train, micro=4, step=lambda: 2))


@pytest.mark.parametrize(("world", "micro", "length"), [(1, 12, 3), (1, 4, 9), (3, 2, 6)])
def test_length_is_that_of_a_whole_epoch_at_any_step(train, world, micro, length):
    for step in (0, 2, 4):
        assert len(training(train, micro, 0, world, step=lambda s=step: s)) == length
    assert len(list(training(train, micro, 0, world))) == length


def test_loader_state_is_empty(train):
    batches = training(train)
    batches.load_state_dict(batches.state_dict())
    assert batches.state_dict() == {} and len(rows(batches)) == 36


# ---- held out --------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
def test_all_ranks_together_see_every_held_out_window_once(held_out, world, batch_size):
    ranks = [HeldOutBatches(held_out, BLOCK, 7, batch_size, rank, world) for rank in range(world)]
    seen = [window for batches in ranks for window in rows(batches)]
    assert sorted(seen) == sorted(windows_of_file(held_out)) and len(seen) == 7
    for batches in ranks:
        sizes = [len(batch["inputs"]) for batch in batches]
        assert len(sizes) == len(batches)
        assert all(size == batch_size for size in sizes[:-1]) and 1 <= sizes[-1] <= batch_size


@pytest.mark.parametrize(("windows", "num_used"), [(100, 7), (100, 99), (97, 10), (10, 10), (9, 1)])
def test_a_part_of_the_held_out_set_is_evenly_spaced(token_folder, windows, num_used):
    shards = TokenShards(token_folder(val=windows), "val")
    indices = HeldOutBatches(shards, BLOCK, num_used, 4, 0, 1).indices
    assert len(set(indices.tolist())) == num_used and indices.min() == 0 and indices.max() < windows
    gaps = np.diff([*indices, windows])
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_part_is_the_same_every_time_and_for_any_number_of_ranks(token_folder, world):
    shards = TokenShards(token_folder(val=50), "val")
    alone = rows(HeldOutBatches(shards, BLOCK, 9, 4, 0, 1))
    ranks = [HeldOutBatches(shards, BLOCK, 9, 2, rank, world) for rank in range(world)]
    first, again = ([window for part in ranks for window in rows(part)] for _ in range(2))
    assert first == again and sorted(first) == sorted(alone)


# ---- a batch ---------------------------------------------------------------------------------


def test_a_batch_is_contiguous(held_out):
    batch = token_batch(held_out, np.array([3, 1, 3]), BLOCK)
    assert batch["inputs"].is_contiguous() and batch["targets"].is_contiguous()
    assert torch.equal(batch["inputs"][0], batch["inputs"][2])
    assert torch.equal(batch["inputs"][:, 1:], batch["targets"][:, :-1])


@pytest.mark.gpu
def test_a_batch_for_a_gpu_is_in_pinned_memory(held_out):
    batch = token_batch(held_out, np.array([0, 1]), BLOCK, pin_memory=True)
    assert all(tensor.is_pinned() and tensor.is_contiguous() for tensor in batch.values())
