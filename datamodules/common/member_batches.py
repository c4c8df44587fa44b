"""Batches of many optimizer steps of S members, for ``Classifier`` and ``FeatureAutoencoder``."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Generic, Self, TypedDict, TypeVar

import torch
from torch import Tensor

IGNORED = -100  # class of a padding row, which neither loss nor metrics count

BatchT = TypeVar("BatchT")


class EpochBatch(TypedDict):
    """One epoch of optimizer steps for S members."""

    inputs: Tensor | StepBatches  # (steps, S, B, K) token ids, or (steps, S, B, D) numbers
    targets: Tensor  # (steps, S, B) classes, -100 at padding


class EvaluationBatch(TypedDict):
    """Training and test examples of S members, training examples first."""

    inputs: Tensor  # (S, N, K) token ids, or (S, N, D) numbers
    targets: Tensor  # (S, N) classes, -100 at padding
    is_test: Tensor  # (S, N) bool
    leaked: Tensor  # (S, N) bool: a test input that is also a training input
    mirrored: Tensor  # (S, N) bool: a test input that is a training input, itself or swapped


class SingleBatchLoader(Generic[BatchT]):
    """A data loader with one batch, which is built when iteration starts.

    Lightning creates loaders before it restores its counters on resume, so ``build`` must read the
    current epoch or step itself, when it is called.
    """

    def __init__(self, build: Callable[[], BatchT]) -> None:
        self.build = build

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[BatchT]:
        yield self.build()


class StepBatches(ABC):
    """Stands in for a tensor (steps, S, B, ...) whose steps are computed when they are indexed.

    For epochs that do not fit into memory (images for twenty seeds) or that nobody needs again
    (random features). Use it like the tensor:

    - ``len(batches)`` is the number of steps;
    - ``batches[i]`` is step i, a tensor (S, B, ...) on the device;
    - ``batches[a:b, c:d, e:f]`` selects steps, members and examples, and is lazy again;
    - ``batches.to(device)`` is what Lightning calls to move a batch.

    Attributes:
        steps: The selected steps.
        members: The selected members.
        examples: The selected examples of each batch.
        device: Where the steps will be computed.
    """

    def __init__(self, num_steps: int, num_members: int, batch_size: int) -> None:
        self.steps = range(num_steps)
        self.members = range(num_members)
        self.examples = range(batch_size)
        self.device = torch.device("cpu")

    @abstractmethod
    def materialize(self, step: int) -> Tensor:
        """Compute one of ``steps``: (S, B, ...) of the selected ``members`` and ``examples``."""

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, key: int | slice | tuple[slice, ...]) -> Tensor | Self:
        if isinstance(key, int):
            return self.materialize(self.steps[key])
        selection = copy.copy(self)
        slices = key if isinstance(key, tuple) else (key,)
        for name, part in zip(("steps", "members", "examples"), slices, strict=False):
            setattr(selection, name, getattr(self, name)[part])
        return selection

    def to(self, device: torch.device | str) -> Self:
        """The same batches, computed on another device."""
        moved = copy.copy(self)
        moved.device = torch.device(device)
        return moved


class GatheredBatches(StepBatches):
    """Batches gathered by index from examples that all members share.

    Args:
        examples: All examples, (N, ...), on any device.
        order: Index of each example, (steps, S, B); -1 (padding) gathers the first.
    """

    def __init__(self, examples: Tensor, order: Tensor) -> None:
        num_steps, num_members, batch_size = order.shape
        super().__init__(num_steps, num_members, batch_size)
        self.source = examples
        self.order = order
        self.device = examples.device

    def materialize(self, step: int) -> Tensor:
        indices = self.order[step, as_slice(self.members), as_slice(self.examples)]  # (S, B)
        rows = self.source.index_select(0, indices.flatten().clamp_min(0))
        return rows.view(*indices.shape, *self.source.shape[1:])

    def to(self, device: torch.device | str) -> Self:
        moved = super().to(device)
        # Tensor.to does not copy what is on the device already.
        moved.source, moved.order = self.source.to(device), self.order.to(device)
        return moved


def as_slice(numbers: range) -> slice:
    """The slice equivalent to a range with a positive step."""
    return slice(numbers.start, numbers.stop, numbers.step)
