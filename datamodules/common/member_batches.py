"""Batches of many optimizer steps that come into being one step at a time."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor


class StepBatches(ABC):
    """What would be a tensor (steps, S, B, ...), made step by step when a step is asked for.

    A Lightning "batch" of this project carries many optimizer steps of all members. Where these
    would not fit into memory (images of an epoch for each of twenty seeds), or where nobody needs
    them again (drawn features), this stands in place of the tensor and is read like it:

    - ``len(batches)`` is the number of steps;
    - ``batches[i]`` is step i, a tensor (S, B, ...) on the device;
    - ``batches[a:b, c:d, e:f]`` is a part of the steps, members and examples, again step by step;
    - ``batches.to(device)`` is what Lightning moves it with.

    Args:
        num_steps: Number of steps.
        num_members: S.
        batch_size: B.

    Attributes:
        steps: The steps that are left after slicing, as numbers from 0.
        members: The members that are left.
        examples: The examples of each batch that are left.
        device: Where the batches will be.
    """

    def __init__(self, num_steps: int, num_members: int, batch_size: int) -> None:
        self.steps = range(num_steps)
        self.members = range(num_members)
        self.examples = range(batch_size)
        self.device = torch.device("cpu")

    @abstractmethod
    def make(self, step: int) -> Tensor:
        """The batches (S, B, ...) of one step, for ``members`` and ``examples`` alone.

        Args:
            step: One of ``steps``.
        """

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, key: int | slice | tuple[slice, ...]) -> Tensor | Self:
        if isinstance(key, int):
            return self.make(self.steps[key])
        part = copy.copy(self)
        parts = key if isinstance(key, tuple) else (key,)
        for name, chosen in zip(("steps", "members", "examples"), parts, strict=False):
            setattr(part, name, getattr(self, name)[chosen])
        return part

    def to(self, device: torch.device | str) -> Self:
        """The same batches, to be made on another device."""
        moved = copy.copy(self)
        moved.device = torch.device(device)
        return moved


class GatheredBatches(StepBatches):
    """Batches out of examples that all members share, taken by their numbers.

    Args:
        examples: Everything there is, (N, ...), on any device.
        order: Which example stands where, (steps, S, B); -1, where there is none, gives the first.
    """

    def __init__(self, examples: Tensor, order: Tensor) -> None:
        super().__init__(*order.shape)
        self.source = examples
        self.order = order
        self.device = examples.device

    def make(self, step: int) -> Tensor:
        chosen = self.order[step, as_slice(self.members), as_slice(self.examples)]  # (S, B)
        rows = self.source.index_select(0, chosen.flatten().clamp_min(0))
        return rows.view(*chosen.shape, *self.source.shape[1:])

    def to(self, device: torch.device | str) -> Self:
        moved = super().to(device)
        # Tensors that are there already are not copied, so that examples on the device stay.
        moved.source, moved.order = self.source.to(device), self.order.to(device)
        return moved


def as_slice(numbers: range) -> slice:
    """The slice of ``range(n)`` that a range with a positive step stands for."""
    return slice(numbers.start, numbers.stop, numbers.step)
