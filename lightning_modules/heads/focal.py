"""Focal loss: examples with a high target probability have a small weight."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.heads.base import LossHead, log_odds
from lightning_modules.heads.cross_entropy import CrossEntropyHead
from lightning_modules.heads.objective import LogitObjectiveHead

# Lower bound of log(1 - p_c): finite, since gamma = 0 times infinity would be NaN.
_LOG_SMALLEST = -1e4


class FocalHead(LogitObjectiveHead):
    """Focal loss: (1 - p_c)^gamma · -log p_c, c being the target.

    Lin et al., "Focal loss for dense object detection" (2017), §3.2, equation 4, for many classes
    and without class weights. 1 - p_c is the sum of the other classes' probabilities, so that loss
    and gradient are accurate where p_c is nearly 1.

    Args:
        in_features: Width of the features.
        num_classes: Number of classes.
        geometry: Loss head class that forms the logits; called with (in_features, num_classes).
        gamma: The paper's focusing parameter, 0 or more (0: cross-entropy).
        geometry_kwargs: Settings of the geometry that differ between the members of an ensemble.

    Raises:
        ValueError: gamma is negative or not finite, or the geometry is itself an objective.
    """

    member_settings: ClassVar[frozenset[str]] = frozenset({"gamma"})

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        geometry: Callable[[int, int], LossHead] = CrossEntropyHead,
        gamma: float = 2.0,
        **geometry_kwargs: float,
    ) -> None:
        super().__init__(in_features, num_classes, geometry, **geometry_kwargs)
        if not 0 <= gamma < math.inf:
            raise ValueError(f"gamma is {gamma}; it must be finite and at least 0 (cross-entropy)")
        self.gamma = float(gamma)

    def losses(self, relative_logits: Tensor, is_target: Tensor) -> Tensor:
        odds = log_odds(relative_logits, is_target)
        log_others = F.logsigmoid(odds).clamp_min(_LOG_SMALLEST)  # log(1 - p_c)
        return torch.exp(self.gamma * log_others) * F.softplus(odds)
