"""The order of the data: a pure function of (seed, step), so that any run can be repeated."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class RandomStream(IntEnum):
    """What random numbers are used for. Streams of one seed are independent of each other."""

    SPLIT = 0  # which examples are trained on
    ORDER = 1  # the order of examples in an epoch
    BATCH_ORDER = 2  # the order of batches in an epoch
    TRAINING_FEATURES = 3
    HELD_OUT_FEATURES = 4


def generator(seed: int, stream: RandomStream, counter: int = 0) -> torch.Generator:
    """A torch generator for one purpose of one seed at one time.

    NumPy's ``SeedSequence`` mixes the numbers, so that neighboring seeds and epochs give unrelated
    streams. The global generators are neither read nor advanced.
    """
    state = np.random.SeedSequence((seed, int(stream), counter)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> 1))


def epoch_order(seed: int, epoch: int, size: int) -> Tensor:
    """A permutation of ``range(size)``, (size,): the order of one epoch, without replacement."""
    return torch.randperm(size, generator=generator(seed, RandomStream.ORDER, epoch))


def epoch_batches(
    seeds: Sequence[int], epoch: int, sizes: Sequence[int], batch_size: int
) -> Tensor:
    """Indices of the examples that each member sees at each step of an epoch.

    Every example appears once. The last batch is padded with -1 to keep one fixed shape; members
    with fewer examples have more padding.

    Returns:
        Indices (steps, S, B), -1 at padding.
    """
    steps = -(-max(sizes) // batch_size)
    order = torch.full((len(seeds), steps * batch_size), -1)
    for member, (seed, size) in enumerate(zip(seeds, sizes, strict=True)):
        order[member, :size] = epoch_order(seed, epoch, size)
    return order.view(len(seeds), steps, batch_size).transpose(0, 1)


def accumulation(global_batch_size: int, micro_batch_size: int, world_size: int) -> int:
    """Micro-batches that each rank accumulates for one optimizer step."""
    at_a_time = micro_batch_size * world_size
    if global_batch_size < 1 or micro_batch_size < 1 or global_batch_size % at_a_time:
        valid = [
            size
            for size in range(1, global_batch_size // world_size + 1)
            if global_batch_size % (size * world_size) == 0
        ]
        below = global_batch_size // max(1, at_a_time) * at_a_time
        nearest = f"{below}, {below + at_a_time}" if below > 0 else str(at_a_time)
        choices = ", ".join(map(str, valid)) or "none with this number of devices"
        raise ValueError(
            f"global_batch_size ({global_batch_size}) must be divisible by micro_batch_size × "
            f"devices ({micro_batch_size} × {world_size}). Nearest: {nearest}. "
            f"Valid micro-batch sizes: {choices}"
        )
    return global_batch_size // at_a_time


def micro_batches(
    order: Tensor, step: int, global_batch_size: int, micro_batch_size: int, rank: int, world: int
) -> Tensor:
    """A rank's micro-batches of one optimizer step: (accumulation, micro_batch_size) indices.

    All ranks together have the same global batch for any number of ranks.
    """
    start = step * global_batch_size
    batch = order[start : start + global_batch_size]
    return batch.view(-1, world, micro_batch_size)[:, rank]
