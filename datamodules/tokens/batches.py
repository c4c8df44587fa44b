"""Micro-batches of token windows: an epoch of training, or a fixed part of the held-out set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from datamodules.common.order import epoch_order, micro_batches
from datamodules.tokens.shards import TokenShards


class TokenBatch(TypedDict):
    """Windows of tokens; the target at each position is the next token."""

    inputs: Tensor  # (B, T) token ids
    targets: Tensor  # (B, T) token ids


class TrainingBatches:
    """One epoch of micro-batches, without replacement, from the current step.

    The step is read when iteration starts, because Lightning creates loaders before it restores its
    counters on resume.
    """

    def __init__(
        self,
        shards: TokenShards,
        block_size: int,
        seed: int,
        global_batch_size: int,
        micro_batch_size: int,
        rank: int,
        world: int,
        step: Callable[[], int],
        pin_memory: bool = False,
    ) -> None:
        self.shards = shards
        self.block_size = block_size
        self.seed = seed
        self.global_batch_size = global_batch_size
        self.micro_batch_size = micro_batch_size
        self.rank, self.world = rank, world
        self.step = step
        self.pin_memory = pin_memory
        self.steps = shards.num_windows(block_size) // global_batch_size

    def __len__(self) -> int:
        return self.steps * self.global_batch_size // (self.micro_batch_size * self.world)

    def __iter__(self) -> Iterator[TokenBatch]:
        epoch, first = divmod(self.step(), self.steps)
        order = epoch_order(self.seed, epoch, self.shards.num_windows(self.block_size))
        for step in range(first, self.steps):
            for indices in micro_batches(
                order, step, self.global_batch_size, self.micro_batch_size, self.rank, self.world
            ):
                yield token_batch(self.shards, indices.numpy(), self.block_size, self.pin_memory)

    # With these two methods Lightning skips no batches on resume: the loader does, by the step.
    def state_dict(self) -> dict[str, Any]:
        """Empty: the position is the optimizer step."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to restore."""


class HeldOutBatches:
    """Held-out windows, each once over all ranks: all of them, or evenly spaced ones."""

    def __init__(
        self,
        shards: TokenShards,
        block_size: int,
        num_windows: int,
        batch_size: int,
        rank: int,
        world: int,
        pin_memory: bool = False,
    ) -> None:
        self.shards = shards
        self.block_size = block_size
        windows = np.arange(num_windows) * shards.num_windows(block_size) // num_windows
        self.indices = windows[rank::world]
        self.batch_size = batch_size
        self.pin_memory = pin_memory

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[TokenBatch]:
        for start in range(0, len(self.indices), self.batch_size):
            indices = self.indices[start : start + self.batch_size]
            yield token_batch(self.shards, indices, self.block_size, self.pin_memory)


def token_batch(
    shards: TokenShards, indices: np.ndarray, block_size: int, pin_memory: bool = False
) -> TokenBatch:
    """The windows at ``indices`` (B,) as inputs and targets, (B, block_size) each."""
    windows = torch.from_numpy(shards.windows(indices, block_size))  # (B, T + 1)
    # Contiguous copies: only those are transferred to a GPU asynchronously.
    inputs, targets = windows[:, :-1].contiguous(), windows[:, 1:].contiguous()
    if pin_memory:
        inputs, targets = inputs.pin_memory(), targets.pin_memory()
    return {"inputs": inputs, "targets": targets}
