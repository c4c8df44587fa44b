"""The order of the data: a pure function of (seed, step), so that any run can be repeated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# What a stream of random numbers is for. Streams of one seed are independent of one another.
SPLIT, ORDER, BATCH_ORDER = 0, 1, 2


def generator(seed: int, stream: int, counter: int = 0) -> torch.Generator:
    """A torch generator for one purpose of one seed at one time (an epoch, say).

    NumPy's ``SeedSequence`` mixes the numbers, so that neighboring seeds and epochs give unrelated
    streams. The global generators are neither read nor moved.

    Args:
        seed: The run's or member's seed, not negative.
        stream: What it is for: ``SPLIT``, ``ORDER``, ``BATCH_ORDER``.
        counter: Epoch or other running number.
    """
    state = np.random.SeedSequence((seed, stream, counter)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> 1))


def epoch_order(seed: int, epoch: int, size: int) -> Tensor:
    """A permutation of ``range(size)``, (size,): the order of one epoch, without replacement."""
    return torch.randperm(size, generator=generator(seed, ORDER, epoch))


def epoch_batches(
    seeds: Sequence[int], epoch: int, sizes: Sequence[int], batch_size: int
) -> Tensor:
    """Which examples each member sees at each step of an epoch.

    The last batch is filled up with -1 to keep one fixed shape; members with fewer examples have
    more of them. Every example appears once.

    Args:
        seeds: One per member.
        epoch: Number of the epoch.
        sizes: Number of training examples of each member.
        batch_size: B.

    Returns:
        Indices (steps, S, B), -1 where there is no example.
    """
    steps = -(-max(sizes) // batch_size)
    order = torch.full((len(seeds), steps * batch_size), -1)
    for member, (seed, size) in enumerate(zip(seeds, sizes, strict=True)):
        order[member, :size] = epoch_order(seed, epoch, size)
    return order.view(len(seeds), steps, batch_size).transpose(0, 1)


def accumulation(global_batch_size: int, micro_batch_size: int, world_size: int) -> int:
    """Micro-batches that each rank adds up for one optimizer step.

    Args:
        global_batch_size: Examples of one optimizer step, all ranks together.
        micro_batch_size: Examples that a rank holds at a time.
        world_size: Number of ranks.

    Raises:
        ValueError: The global batch is no multiple of what the ranks hold.
    """
    at_a_time = micro_batch_size * world_size
    if global_batch_size < 1 or micro_batch_size < 1 or global_batch_size % at_a_time:
        fitting = [
            size
            for size in range(1, global_batch_size // world_size + 1)
            if global_batch_size % (size * world_size) == 0
        ]
        choices = ", ".join(map(str, fitting)) or "none: change the devices or the global batch"
        step = max(1, at_a_time)
        below = global_batch_size // step * step
        near = f"{below} and {below + step} are" if below > 0 else f"{step} is"
        raise ValueError(
            f"global_batch_size {global_batch_size} is no multiple of micro_batch_size "
            f"{micro_batch_size} times {world_size} device{'s' * (world_size > 1)}; {near}; "
            f"sizes of a micro-batch that divide it here: {choices}"
        )
    return global_batch_size // at_a_time


def micro_batches(
    order: Tensor, step: int, global_batch_size: int, micro_batch_size: int, rank: int, world: int
) -> Tensor:
    """A rank's micro-batches of one optimizer step: (accumulation, micro_batch_size) indices.

    Together the ranks have the same global batch, whatever their number.

    Args:
        order: The epoch's order, (size,).
        step: Optimizer step within the epoch.
        global_batch_size: Examples of a step.
        micro_batch_size: Examples of a micro-batch.
        rank: This rank.
        world: Number of ranks.
    """
    start = step * global_batch_size
    batch = order[start : start + global_batch_size]
    return batch.view(-1, world, micro_batch_size)[:, rank]
