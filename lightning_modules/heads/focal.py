"""Focal loss: examples that the head is already sure of count less."""

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

# Below e to this, 1 - p_c is taken for 0. A number, since 0 times infinity is none.
_LOG_LEAST = -1e4


class FocalHead(LogitObjectiveHead):
    """Focal loss: (1 - p_c)^gamma · -log p_c, c being the target.

    Lin et al., "Focal loss for dense object detection" (2017), §3.2, equation 4, for many classes
    and without their weights of classes. 1 - p_c is formed from the other classes' probabilities,
    so that loss and gradient keep their digits where p_c is nearly 1.

    Args:
        in_features: Width of the features.
        num_classes: Number of classes.
        geometry: Loss head class that forms the logits; called with (in_features, num_classes).
        gamma: The paper's focusing parameter, 0 or more (0: cross-entropy).
        geometry_kwargs: Settings of the geometry, one value a member of an ensemble.

    Raises:
        ValueError: gamma is negative or no number, or the geometry does not fit.
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
            raise ValueError(f"gamma is {gamma}; it must be 0 (cross-entropy) or more")
        self.gamma = float(gamma)

    def losses(self, behind: Tensor, is_target: Tensor) -> Tensor:
        odds = log_odds(behind, is_target)
        log_others = F.logsigmoid(odds).clamp_min(_LOG_LEAST)  # log(1 - p_c)
        return torch.exp(self.gamma * log_others) * F.softplus(odds)
