"""CircularFeatures: neighboring features on a circle are active together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from datamodules.features.base import SyntheticFeatures
from datamodules.features.draws import circular_features


class CircularFeatures(SyntheticFeatures):
    """Features on a circle, active on an arc around a random angle (feature-geometry paper §7).

    ``features.draws.circular_features`` defines the distribution, ``SyntheticFeatures`` how scales
    are assigned to members. All features have importance 1.

    Args:
        num_features: N (90 in the paper).
        scale: ℓ; or a list of values to sweep. A feature is active within πℓ/2 of the random angle;
            at 2 the arc is the whole circle.
        batch_size: Examples of one optimizer step.
        steps_per_epoch: Optimizer steps of one epoch, which is one Lightning batch.
        val_steps: Held-out batches of ``batch_size`` examples.
        seeds: One per member; null takes those of the model.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        num_features: int = 90,
        scale: float | list[float] = 1.0,
        batch_size: int = 1024,
        steps_per_epoch: int = 100,
        val_steps: int = 10,
        seeds: list[int] | None = None,
    ) -> None:
        super().__init__(num_features, batch_size, steps_per_epoch, val_steps, seeds)
        self.scale = scale
        self._scales = list(scale) if isinstance(scale, list) else [scale]
        valid = [isinstance(value, int | float) and 0 < value <= 2 for value in self._scales]
        if not valid or not all(valid):
            raise ValueError(
                f"scale is {scale}; it must be above 0 and at most 2 (the whole circle), or a list "
                f"of such values"
            )

    @property
    def values(self) -> list[dict[str, Any]]:
        """The scales."""
        return [{"scale": value} for value in self._scales]

    @property
    def num_uniforms(self) -> int:
        """Two: the angle and the magnitude."""
        return 2

    def value_settings(self) -> Tensor:
        """ℓ of each value, (V, 1, 1)."""
        return torch.tensor(self._scales, dtype=torch.float32).view(-1, 1, 1)

    def value_importance(self) -> Tensor:
        """Ones, (V, N)."""
        return torch.ones(len(self._scales), self.num_features)

    def features(self, uniform: Tensor, settings: Tensor) -> Tensor:
        """Circular features from uniform numbers and scales."""
        return circular_features(uniform, settings, self.num_features)

    def settings(self) -> dict[str, Any]:
        """The scale."""
        return {"scale": self.scale}
