"""AlgorithmicData: the algorithmic tasks, with an own split and an own order for every seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, get_args

import torch
from torch import Tensor

from datamodules.common.member_batches import (
    IGNORED,
    EpochBatch,
    EvaluationBatch,
    SingleBatchLoader,
)
from datamodules.common.member_data import MemberData
from datamodules.common.options import check_at_least, choose
from datamodules.common.order import epoch_batches
from datamodules.common.run import check_resume_data
from datamodules.tasks import ModularAddition, Task
from datamodules.tasks.splitting import Sampling, TaskSplit, split_examples

T = TypeVar("T")


class AlgorithmicData(MemberData):
    """Examples of an algorithmic task for many seeds at once (harmonic-loss paper §4.1).

    The data are a few thousand integers, so they are kept as whole tensors: a training "batch" is
    one epoch of all seeds, a validation batch all examples.

    Args:
        task: The task, such as ModularAddition.
        sampling: 'distinct' draws distinct inputs, so that no test input is trained on;
            'with_replacement' is the authors' protocol, which leaks test inputs into training. Or a
            list with one of them for each seed.
        num_samples: Examples drawn per seed (1000 in the paper), training and test together.
        train_fraction: Fraction of them in the training set (0.8 in the paper); or a list with one
            for each seed.
        batch_size: Examples per optimizer step (32 in the authors' code).
        seeds: One per member; null takes those of the model.

    Raises:
        ValueError: A number is out of range, seeds differ from the model's, or a list does not have
            one entry per seed.
    """

    def __init__(
        self,
        task: Task | None = None,
        sampling: str | list[str] = "distinct",
        num_samples: int = 1000,
        train_fraction: float | list[float] = 0.8,
        batch_size: int = 32,
        seeds: list[int] | None = None,
    ) -> None:
        super().__init__(seeds)
        check_at_least(2, num_samples=num_samples)
        check_at_least(1, batch_size=batch_size)
        fractions = train_fraction if isinstance(train_fraction, list) else [train_fraction]
        if not all(0.0 < fraction < 1.0 for fraction in fractions):
            raise ValueError(f"train_fraction is {train_fraction}; it must be between 0 and 1")
        for value in sampling if isinstance(sampling, list) else [sampling]:
            choose("sampling", value, get_args(Sampling))
        self.task = ModularAddition() if task is None else task
        self.sampling = sampling
        self.num_samples = num_samples
        self.train_fraction = train_fraction
        self.batch_size = batch_size
        self.splits: list[TaskSplit] = []
        self._member_settings: list[dict[str, Any]] = []

    # ---- sizes, which the command line links to the model's options ------------------------------

    @property
    def vocab_size(self) -> int:
        """Number of tokens of the task."""
        return self.task.vocab_size

    @property
    def num_inputs(self) -> int:
        """Input tokens per example."""
        return self.task.num_inputs

    @property
    def num_classes(self) -> int:
        """Number of possible answers."""
        return self.task.num_classes

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch (after ``setup``)."""
        return max(self.steps_per_member)

    @property
    def steps_per_member(self) -> list[int]:
        """Optimizer steps of each member; they differ if the train fractions do."""
        return [-(-len(split.train_inputs) // self.batch_size) for split in self.splits]

    @property
    def member_settings(self) -> list[dict[str, Any]]:
        """Each member's ``sampling`` and ``train_fraction`` by name (after ``setup``)."""
        return self._member_settings

    # ---- Lightning's hooks -----------------------------------------------------------------------

    def setup(self, stage: str | None = None) -> None:
        """Split the examples of every seed; the split depends on the seed alone."""
        before = self._member_seeds
        super().setup(stage)
        seeds = self.member_seeds
        if seeds == before:
            return
        samplings = _per_seed("sampling", self.sampling, len(seeds))
        fractions = _per_seed("train_fraction", self.train_fraction, len(seeds))
        self._member_settings = [
            {"sampling": sampling, "train_fraction": fraction}
            for sampling, fraction in zip(samplings, fractions, strict=True)
        ]
        self.splits = [
            split_examples(self.task, seed, num_samples=self.num_samples, **settings)
            for seed, settings in zip(seeds, self._member_settings, strict=True)
        ]

    def train_dataloader(self) -> SingleBatchLoader[EpochBatch]:
        """One item per epoch, with all of its batches (after ``setup``)."""
        seeds, splits = self.member_seeds, self.splits
        inputs = _stack([split.train_inputs for split in splits], 0)  # (S, N, K)
        targets = _stack([split.train_targets for split in splits], IGNORED)  # (S, N)
        sizes = [len(split.train_inputs) for split in splits]
        members = torch.arange(len(seeds)).view(1, -1, 1)

        def epoch() -> EpochBatch:
            order = epoch_batches(
                seeds, self.current_epoch, sizes, self.batch_size
            )  # (steps, S, B)
            indices = order.clamp_min(0)
            return {
                "inputs": inputs[members, indices],
                "targets": torch.where(order >= 0, targets[members, indices], IGNORED),
            }

        return SingleBatchLoader(epoch)

    def val_dataloader(self) -> SingleBatchLoader[EvaluationBatch]:
        """One item: every seed's training and test examples."""
        batch = evaluation_batch(self.splits)
        return SingleBatchLoader(lambda: batch)

    def state_dict(self) -> dict[str, Any]:
        """The options that determine each seed's training examples and steps."""
        return {
            "sampling": self.sampling,
            "num_samples": self.num_samples,
            "train_fraction": self.train_fraction,
            "batch_size": self.batch_size,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check a checkpoint that training resumes from.

        Raises:
            ValueError: Other examples would be trained on, or an epoch has other steps.
        """
        current = self.state_dict()
        num_members = len(self._member_seeds)
        # One value for all and a list of equal values are the same setting.
        same = {
            name: value
            for name, value in current.items()
            if _expand(state_dict.get(name, value), num_members) == _expand(value, num_members)
        }
        check_resume_data(self.trainer, {**state_dict, **same}, current)


def evaluation_batch(splits: Sequence[TaskSplit]) -> EvaluationBatch:
    """Every member's training examples, followed by its test examples."""
    no = [torch.zeros(len(split.train_inputs), dtype=torch.bool) for split in splits]
    parts = list(zip(splits, no, strict=True))
    return {
        "inputs": _stack([torch.cat([s.train_inputs, s.test_inputs]) for s in splits], 0),
        "targets": _stack([torch.cat([s.train_targets, s.test_targets]) for s in splits], IGNORED),
        "is_test": _stack([torch.cat([n, torch.ones_like(s.leaked)]) for s, n in parts], False),
        "leaked": _stack([torch.cat([n, s.leaked]) for s, n in parts], False),
        "mirrored": _stack([torch.cat([n, s.mirrored]) for s, n in parts], False),
    }


def _per_seed(name: str, setting: T | list[T], num_seeds: int) -> list[T]:
    """One value per seed, from a list or from one value for all."""
    values = _expand(setting, num_seeds)
    if len(values) != num_seeds:
        raise ValueError(
            f"data.{name} has {len(values)} entries for {num_seeds} seeds; give one per seed, or "
            f"one value for all"
        )
    return values


def _expand(setting: T | list[T], count: int) -> list[T]:
    return setting if isinstance(setting, list) else [setting] * count


def _stack(tensors: Sequence[Tensor], fill: int | bool) -> Tensor:
    """Stack along a new first dimension, shorter tensors padded at their end."""
    length = max(len(tensor) for tensor in tensors)
    stacked = tensors[0].new_full((len(tensors), length, *tensors[0].shape[1:]), fill)
    for row, tensor in zip(stacked, tensors, strict=True):
        row[: len(tensor)] = tensor
    return stacked
