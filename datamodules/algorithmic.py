"""The algorithmic tasks as a LightningDataModule: every seed its own split and its own order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypedDict, get_args

import lightning as L
import torch
from torch import Tensor

from datamodules.common.order import epoch_batches
from datamodules.common.run import check_resume_data
from datamodules.tasks import ModularAddition, Task
from datamodules.tasks.splitting import Sampling, Split, split_examples

# Settings that decide which examples a seed is trained on, and in which steps.
_DECISIVE = ("sampling", "num_samples", "train_fraction", "batch_size", "keep_pairs_together")


class EpochBatch(TypedDict):
    """One epoch of optimizer steps for S members."""

    inputs: Tensor  # (steps, S, B, K) token ids
    targets: Tensor  # (steps, S, B) token ids, -100 where a short batch is filled up


class EvaluationBatch(TypedDict):
    """Training and test examples of S members, training ones first."""

    inputs: Tensor  # (S, N, K) token ids
    targets: Tensor  # (S, N) token ids, -100 where a shorter member is filled up
    is_test: Tensor  # (S, N) bool
    leaked: Tensor  # (S, N) bool: a test input that is also a training input
    mirrored: Tensor  # (S, N) bool: a test input whose mirror image is, or itself


class AlgorithmicData(L.LightningDataModule):
    """Examples of an algorithmic task for many seeds at once (harmonic-loss paper §4.1).

    All data are a few thousand integers, so they are whole tensors: a training "batch" is one
    epoch's batches of all seeds, a validation batch everything there is.

    Args:
        task: The task, such as ModularAddition.
        sampling: 'distinct' draws distinct inputs, so that no test input is trained on;
            'with_replacement' is the authors' protocol, which leaks test inputs into training. Or a
            list with one of them for each seed.
        num_samples: Examples drawn per seed (1000 in the paper), training and test together.
        train_fraction: Share of them that is trained on (0.8 in the paper); or a list with one
            for each seed.
        batch_size: Examples per optimizer step (32 in the authors' code).
        keep_pairs_together: In symmetric tasks put (x, y) and (y, x) on the same side of the split.
        seeds: One per member; null takes those of the model that is trained.

    Raises:
        ValueError: A number is out of range, seeds differ from the model's, or a list has not one
            entry for each seed.
    """

    def __init__(
        self,
        task: Task | None = None,
        sampling: str | list[str] = "distinct",
        num_samples: int = 1000,
        train_fraction: float | list[float] = 0.8,
        batch_size: int = 32,
        keep_pairs_together: bool = False,
        seeds: list[int] | None = None,
    ) -> None:
        super().__init__()
        if num_samples < 2:
            raise ValueError(f"num_samples is {num_samples}; it must be at least 2")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        fractions = train_fraction if isinstance(train_fraction, list) else [train_fraction]
        if not all(0.0 < fraction < 1.0 for fraction in fractions):
            raise ValueError(f"train_fraction is {train_fraction}; it must lie between 0 and 1")
        if not set([sampling] if isinstance(sampling, str) else sampling) <= set(
            get_args(Sampling)
        ):
            raise ValueError(f"sampling is {sampling!r}; choose 'distinct' or 'with_replacement'")
        self.task = ModularAddition() if task is None else task
        self.sampling = sampling
        self.num_samples = num_samples
        self.train_fraction = train_fraction
        self.batch_size = batch_size
        self.keep_pairs_together = keep_pairs_together
        self.seeds = seeds
        self.splits: list[Split] = []
        self._split_seeds: list[int] = []
        self._member_settings: list[dict[str, Any]] = []

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
        """The same of each member; they differ where the members' train fractions do."""
        return [-(-len(split.train_inputs) // self.batch_size) for split in self.splits]

    @property
    def member_settings(self) -> list[dict[str, Any]]:
        """Each member's ``sampling`` and ``train_fraction`` by name (after ``setup``)."""
        return self._member_settings

    def setup(self, stage: str | None = None) -> None:
        """Split every seed's examples; the same for the same seeds, whatever the stage."""
        seeds = self._resolve_seeds()
        if self._split_seeds == seeds:
            return
        samplings: list[Sampling] = _for_each(self.sampling, "sampling", seeds)
        fractions = _for_each(self.train_fraction, "train_fraction", seeds)
        self._member_settings = [
            {"sampling": sampling, "train_fraction": fraction}
            for sampling, fraction in zip(samplings, fractions, strict=True)
        ]
        self.splits = [
            split_examples(
                self.task, seed, sampling, self.num_samples, fraction, self.keep_pairs_together
            )
            for seed, sampling, fraction in zip(seeds, samplings, fractions, strict=True)
        ]
        self._split_seeds = seeds

    def train_dataloader(self) -> EpochLoader:
        """One item an epoch: all of the epoch's batches.

        Raises:
            RuntimeError: ``setup`` has not been called.
        """
        if not self.splits:
            raise RuntimeError("call setup() before asking for a data loader")
        return EpochLoader(self.splits, self._split_seeds, self.batch_size, self._current_epoch)

    def val_dataloader(self) -> EvaluationLoader:
        """One item: every seed's training and test examples."""
        return EvaluationLoader(evaluation_batch(self.splits))

    def test_dataloader(self) -> EvaluationLoader:
        """The same as for validation; the scores of the two parts are kept apart."""
        return self.val_dataloader()

    def predict_dataloader(self) -> EvaluationLoader:
        """The same as for validation."""
        return self.val_dataloader()

    def state_dict(self) -> dict[str, Any]:
        """What decides which examples each seed is trained on, and in how many steps an epoch."""
        return {name: getattr(self, name) for name in _DECISIVE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with other data than those of the run that wrote a checkpoint.

        Raises:
            ValueError: Test inputs would have been trained on, or an epoch has other steps.
        """
        here = self.state_dict()
        same = {
            name: value
            for name, value in here.items()
            if _of_members(state_dict.get(name, value), self._split_seeds)
            == _of_members(value, self._split_seeds)
        }
        consequence = "so that seeds have other training examples or steps"
        check_resume_data(self.trainer, {**state_dict, **same}, here, consequence)

    def _resolve_seeds(self) -> list[int]:
        module = self.trainer.lightning_module if self.trainer is not None else None
        of_model = getattr(module, "seeds", None)
        if self.seeds is None:
            return list(of_model) if of_model else [0]
        if of_model and list(of_model) != list(self.seeds):
            raise ValueError(
                f"data.seeds are {self.seeds} and model.seeds are {list(of_model)}; leave "
                f"data.seeds at null to use the model's"
            )
        return list(self.seeds)

    def _current_epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer is not None else 0


class EpochLoader:
    """Yields one ``EpochBatch``: the batches of the epoch that is current when it is asked.

    The epoch is read at that moment and not before, since Lightning builds loaders before it
    restores its counters on resume.
    """

    def __init__(
        self,
        splits: Sequence[Split],
        seeds: Sequence[int],
        batch_size: int,
        current_epoch: Callable[[], int],
    ) -> None:
        self.sizes = [len(split.train_inputs) for split in splits]
        self.inputs = _stack([split.train_inputs for split in splits], 0)  # (S, N, K)
        self.targets = _stack([split.train_targets for split in splits], -100)  # (S, N)
        self.seeds = list(seeds)
        self.batch_size = batch_size
        self.current_epoch = current_epoch

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[EpochBatch]:
        order = epoch_batches(self.seeds, self.current_epoch(), self.sizes, self.batch_size)
        members = torch.arange(len(self.seeds)).view(1, -1, 1)
        present = order >= 0  # (steps, S, B)
        order = order.clamp_min(0)
        yield {
            "inputs": self.inputs[members, order],
            "targets": torch.where(present, self.targets[members, order], -100),
        }


class EvaluationLoader:
    """Yields the one ``EvaluationBatch`` there is. (A list would mean several loaders.)"""

    def __init__(self, batch: EvaluationBatch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[EvaluationBatch]:
        yield self.batch


def evaluation_batch(splits: Sequence[Split]) -> EvaluationBatch:
    """Every member's training examples followed by its test examples."""
    false = [torch.zeros(len(split.train_inputs), dtype=torch.bool) for split in splits]
    parts = list(zip(splits, false, strict=True))
    return {
        "inputs": _stack([torch.cat([s.train_inputs, s.test_inputs]) for s, _ in parts], 0),
        "targets": _stack([torch.cat([s.train_targets, s.test_targets]) for s, _ in parts], -100),
        "is_test": _stack([torch.cat([f, torch.ones_like(s.leaked)]) for s, f in parts], False),
        "leaked": _stack([torch.cat([f, s.leaked]) for s, f in parts], False),
        "mirrored": _stack([torch.cat([f, s.mirrored]) for s, f in parts], False),
    }


def _for_each(setting: Any, name: str, seeds: Sequence[int]) -> list[Any]:
    """One value for each seed, of a list or of one that all share."""
    values = _of_members(setting, seeds)
    if len(values) != len(seeds):
        raise ValueError(
            f"data.{name} has {len(values)} entries for {len(seeds)} seeds; give one each, or one "
            f"value for all"
        )
    return values


def _of_members(setting: Any, seeds: Sequence[int]) -> list[Any]:
    """A list as it is, and a value that all seeds share once for each."""
    return setting if isinstance(setting, list) else [setting] * len(seeds)


def _stack(tensors: Sequence[Tensor], fill: int | bool) -> Tensor:
    """Stack along a new first dimension, the shorter ones filled up at their end."""
    length = max(len(tensor) for tensor in tensors)
    stacked = tensors[0].new_full((len(tensors), length, *tensors[0].shape[1:]), fill)
    for row, tensor in zip(stacked, tensors, strict=True):
        row[: len(tensor)] = tensor
    return stacked
