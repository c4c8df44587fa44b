"""DrawnFeatures: what data modules of random features have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, TypedDict

import lightning as L
from torch import Tensor

from datamodules.common.run import check_resume_data, member_seeds
from datamodules.features.draws import FRESH, HELD_OUT, FreshDraws


class DrawnBatch(TypedDict):
    """Many optimizer steps of M members; ``inputs`` are also what is to be reconstructed."""

    inputs: FreshDraws  # (steps, M, B, N): len() of it steps, each drawn when it is taken out
    importance: Tensor  # (M, N), the weight of each feature's squared error


class DrawnFeatures(L.LightningDataModule):
    """Features that are drawn on the device, fresh at every optimizer step, for many members.

    Nothing is stored. A training "batch" is an epoch of ``steps_per_epoch`` optimizer steps of all
    members: it says what to draw, and each step is drawn when it is taken out (``FreshDraws``). The
    held-out batches are drawn in the same way, the same ones at every validation.

    A subclass lists its *values*, the settings that are swept. The M members are the model's seeds,
    of which each value has an equal share: the first M/V members have the first of V values, and
    so on. So ten values for twenty seeds are 200 members, value by value, and one run.

    Args:
        num_features: N.
        batch_size: B, examples of one optimizer step.
        steps_per_epoch: Optimizer steps of one epoch, which is one Lightning batch.
        val_steps: Held-out batches of ``batch_size`` examples.
        seeds: One per member; null takes those of the model that is trained.

    Raises:
        ValueError: A number is below 1, or seeds differ from the model's.
    """

    def __init__(
        self,
        num_features: int,
        batch_size: int,
        steps_per_epoch: int,
        val_steps: int,
        seeds: list[int] | None,
    ) -> None:
        super().__init__()
        at_least_one = {
            "num_features": num_features,
            "batch_size": batch_size,
            "steps_per_epoch": steps_per_epoch,
            "val_steps": val_steps,
        }
        for name, number in at_least_one.items():
            if number < 1:
                raise ValueError(f"{name} is {number}; it must be at least 1")
        self.num_features = num_features
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.val_steps = val_steps
        self.seeds = seeds
        self._member_seeds: list[int] = []

    # ---- what a subclass says --------------------------------------------------------------------

    @property
    @abstractmethod
    def values(self) -> list[dict[str, Any]]:
        """The settings that are swept, by name."""

    @abstractmethod
    def value_settings(self) -> Tensor:
        """A row for each value, (V, 1, ...), as ``features`` reads it."""

    @abstractmethod
    def value_importance(self) -> Tensor:
        """The weight of each feature's error, (V, N)."""

    @property
    @abstractmethod
    def num_uniforms(self) -> int:
        """Uniform numbers of which an example is made."""

    @abstractmethod
    def features(self, uniform: Tensor, settings: Tensor) -> Tensor:
        """Features (L, B, N) of L members, from uniform numbers (L, B, K) and settings' rows.

        It may make them in the numbers' memory.
        """

    # ---- members ---------------------------------------------------------------------------------

    @property
    def num_values(self) -> int:
        """V, by which a model multiplies its seeds."""
        return len(self.values)

    @property
    def member_settings(self) -> list[dict[str, Any]]:
        """Each member's value (after ``setup``)."""
        if not self._member_seeds:
            return []
        return [value for value in self.values for _ in range(self._members_of_a_value())]

    @property
    def member_labels(self) -> list[dict[str, Any]]:
        """Each member's seed and value (after ``setup``)."""
        pairs = zip(self._member_seeds, self.member_settings, strict=True)
        return [{"seed": seed, **value} for seed, value in pairs]

    def member_importance(self) -> Tensor:
        """The weight of each feature's squared error, (M, N) (after ``setup``)."""
        return self.value_importance().repeat_interleave(self._members_of_a_value(), dim=0)

    def _members_of_a_value(self) -> int:
        if not self._member_seeds:
            raise RuntimeError("call setup() before asking for members or a data loader")
        return len(self._member_seeds) // self.num_values

    # ---- Lightning's hooks -----------------------------------------------------------------------

    def setup(self, stage: str | None = None) -> None:
        """Find out the members.

        Raises:
            ValueError: Seeds differ from the model's, or cannot be shared out among the values.
        """
        seeds = member_seeds(self.seeds, self.trainer, [0] * self.num_values)
        if len(seeds) % self.num_values:
            raise ValueError(
                f"{len(seeds)} members cannot be shared out among {self._sweep()}; "
                f"give every value as many seeds"
            )
        self._member_seeds = seeds

    def train_dataloader(self) -> DrawLoader:
        """One item an epoch: the epoch's steps.

        Raises:
            RuntimeError: ``setup`` has not been called.
        """
        return self._loader(self.steps_per_epoch, FRESH, self._first_step)

    def val_dataloader(self) -> DrawLoader:
        """One item: held-out batches, the same ones each time.

        Raises:
            RuntimeError: ``setup`` has not been called.
        """
        return self._loader(self.val_steps, HELD_OUT, lambda: 0)

    def test_dataloader(self) -> DrawLoader:
        """The same as for validation."""
        return self.val_dataloader()

    def predict_dataloader(self) -> DrawLoader:
        """The same as for validation."""
        return self.val_dataloader()

    def state_dict(self) -> dict[str, Any]:
        """What decides what is drawn at which step."""
        return {
            "num_features": self.num_features,
            "batch_size": self.batch_size,
            "steps_per_epoch": self.steps_per_epoch,
            **self.settings(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with other data than those of the run that wrote a checkpoint.

        Raises:
            ValueError: The same step would draw other features.
        """
        consequence = "so that members are trained on other features"
        check_resume_data(self.trainer, state_dict, self.state_dict(), consequence)

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Options of the subclass that decide what is drawn, by their names."""

    def describe(self) -> dict[str, str]:
        """What the command `check` shows of the data."""
        return {
            "features": f"{self.num_features} a draw, {self.batch_size:,} fresh draws a step",
            "members": f"{len(self._member_seeds)}, of {self._sweep()}",
        }

    def __str__(self) -> str:
        """Lightning's own would look for a data set in every batch, after drawing it."""
        return f"{type(self).__name__}({self.num_features} features, {self._sweep()})"

    def _sweep(self) -> str:
        """How many values there are, and of what."""
        values = self.values
        swept = [name for name in values[0] if any(v[name] != values[0][name] for v in values)]
        return f"{len(values)} values of {' and '.join(swept)}" if swept else "one value"

    def _first_step(self) -> int:
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        return epoch * self.steps_per_epoch

    def _loader(self, num_steps: int, stream: int, current_step: Callable[[], int]) -> DrawLoader:
        importance = self.member_importance()  # (M, N)
        members = self._members_of_a_value()
        settings = self.value_settings().repeat_interleave(members, dim=0)  # (M, 1, ...)

        def batch() -> DrawnBatch:
            draws = FreshDraws(
                self.features,
                settings,
                self._member_seeds,
                self.num_uniforms,
                self.num_features,
                self.batch_size,
                current_step(),
                num_steps,
                stream,
            )
            return {"inputs": draws, "importance": importance}

        return DrawLoader(batch)


class DrawLoader:
    """Yields one ``DrawnBatch``, from the step that is current when it is asked.

    The step is read at that moment and not before, since Lightning builds loaders before it
    restores its counters on resume.
    """

    def __init__(self, batch: Callable[[], DrawnBatch]) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[DrawnBatch]:
        yield self.batch()
