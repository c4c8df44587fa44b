"""SyntheticFeatures: base class of data modules that draw random features at every step."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypedDict

from torch import Tensor

from datamodules.common.member_batches import SingleBatchLoader
from datamodules.common.member_data import MemberData
from datamodules.common.options import check_at_least
from datamodules.common.order import RandomStream
from datamodules.common.run import member_seeds
from datamodules.features.draws import LazyFeatureBatches


class FeatureBatch(TypedDict):
    """Many optimizer steps of M members; ``inputs`` are also the reconstruction targets."""

    inputs: LazyFeatureBatches  # (steps, M, B, N), each step drawn when it is indexed
    importance: Tensor  # (M, N), the weight of each feature's squared error


class SyntheticFeatures(MemberData):
    """Features drawn on the device, anew at every optimizer step, for many members.

    Nothing is stored. A training "batch" is an epoch of ``steps_per_epoch`` optimizer steps of all
    members, drawn step by step (``LazyFeatureBatches``). Held-out batches are drawn in the same
    way, the same ones at every validation.

    A subclass lists its *values*, the settings of a sweep. The M members are the model's seeds,
    divided equally among the V values: the first M/V members have the first value, and so on. Ten
    values and twenty seeds are one run of 200 members.
    """

    def __init__(
        self,
        num_features: int,
        batch_size: int,
        steps_per_epoch: int,
        val_steps: int,
        seeds: list[int] | None,
    ) -> None:
        super().__init__(seeds)
        check_at_least(
            1,
            num_features=num_features,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            val_steps=val_steps,
        )
        self.num_features = num_features
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.val_steps = val_steps

    # ---- what a subclass defines -----------------------------------------------------------------

    @property
    @abstractmethod
    def values(self) -> list[dict[str, Any]]:
        """The settings of the sweep, by name."""

    @abstractmethod
    def value_settings(self) -> Tensor:
        """One row per value, (V, 1, ...), in the form that ``features`` takes."""

    @abstractmethod
    def value_importance(self) -> Tensor:
        """Weight of each feature's squared error, (V, N)."""

    @property
    @abstractmethod
    def num_uniforms(self) -> int:
        """K, uniform numbers per example."""

    @abstractmethod
    def features(self, uniform: Tensor, settings: Tensor) -> Tensor:
        """Features (L, B, N) of L members from uniform numbers (L, B, K) and rows of settings.

        May overwrite the numbers.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The subclass's options that determine the draws, by name."""

    # ---- members ---------------------------------------------------------------------------------

    @property
    def num_values(self) -> int:
        """V; a model has this many members per seed."""
        return len(self.values)

    @property
    def member_settings(self) -> list[dict[str, Any]]:
        """Each member's value (after ``setup``)."""
        if not self._member_seeds:
            return []
        return [value for value in self.values for _ in range(self._members_per_value())]

    def member_importance(self) -> Tensor:
        """Weight of each feature's squared error, (M, N) (after ``setup``)."""
        return self.value_importance().repeat_interleave(self._members_per_value(), dim=0)

    def _members_per_value(self) -> int:
        return len(self.member_seeds) // self.num_values

    # ---- Lightning's hooks -----------------------------------------------------------------------

    def setup(self, stage: str | None = None) -> None:
        """Assign seeds and values to members."""
        seeds = member_seeds(self.seeds, self.trainer, [0] * self.num_values)
        if len(seeds) % self.num_values:
            raise ValueError(
                f"{len(seeds)} seeds cannot be divided equally among {self._sweep()}; give every "
                f"value the same number of seeds"
            )
        self._member_seeds = seeds

    def train_dataloader(self) -> SingleBatchLoader[FeatureBatch]:
        """One item per epoch: the epoch's steps (after ``setup``)."""
        return self._loader(self.steps_per_epoch, RandomStream.TRAINING_FEATURES)

    def val_dataloader(self) -> SingleBatchLoader[FeatureBatch]:
        """One item: held-out batches, the same each time (after ``setup``)."""
        return self._loader(self.val_steps, RandomStream.HELD_OUT_FEATURES)

    def state_dict(self) -> dict[str, Any]:
        """The options that determine what is drawn at which step."""
        return {
            "num_features": self.num_features,
            "batch_size": self.batch_size,
            "steps_per_epoch": self.steps_per_epoch,
            **self.settings(),
        }

    def describe(self) -> dict[str, str]:
        """Summary of the data for the command `check`."""
        return {
            "features": f"{self.num_features} a draw, {self.batch_size:,} fresh draws a step",
            "members": f"{len(self._member_seeds)}, of {self._sweep()}",
        }

    def _sweep(self) -> str:
        """The number of values and the names of the swept settings."""
        values = self.values
        swept = [name for name in values[0] if any(v[name] != values[0][name] for v in values)]
        return f"{len(values)} values of {' and '.join(swept)}" if swept else "one value"

    def _loader(self, num_steps: int, stream: RandomStream) -> SingleBatchLoader[FeatureBatch]:
        importance = self.member_importance()  # (M, N)
        members = self._members_per_value()
        settings = self.value_settings().repeat_interleave(members, dim=0)  # (M, 1, ...)

        def batch() -> FeatureBatch:
            training = stream == RandomStream.TRAINING_FEATURES
            first_step = self.current_epoch * self.steps_per_epoch if training else 0
            draws = LazyFeatureBatches(
                self.features,
                settings,
                self.member_seeds,
                self.num_uniforms,
                self.num_features,
                self.batch_size,
                first_step,
                num_steps,
                stream,
            )
            return {"inputs": draws, "importance": importance}

        return SingleBatchLoader(batch)
