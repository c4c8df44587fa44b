"""Label smoothing: a fraction of the target's probability is distributed over all classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from lightning_modules.heads.base import LossHead, log_odds
from lightning_modules.heads.cross_entropy import CrossEntropyHead
from lightning_modules.heads.objective import LogitObjectiveHead


class LabelSmoothingHead(LogitObjectiveHead):
    """Cross-entropy with targets q_v = smoothing / C, plus 1 - smoothing at the target class.

    Szegedy et al., "Rethinking the Inception architecture for computer vision" (2016), §7. Equals
    -log p_c + smoothing · mean over v of log(p_c / p_v), which penalizes confident predictions.

    Args:
        in_features: Width of the features.
        num_classes: Number of classes.
        geometry: Loss head class that forms the logits; called with (in_features, num_classes).
        smoothing: Fraction of the probability that is distributed, from 0 (cross-entropy) to 1.
        geometry_kwargs: Settings of the geometry that differ between the members of an ensemble.

    Raises:
        ValueError: smoothing is not in [0, 1], or the geometry is itself an objective.
    """

    member_settings: ClassVar[frozenset[str]] = frozenset({"smoothing"})

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        geometry: Callable[[int, int], LossHead] = CrossEntropyHead,
        smoothing: float = 0.1,
        **geometry_kwargs: float,
    ) -> None:
        super().__init__(in_features, num_classes, geometry, **geometry_kwargs)
        if not 0 <= smoothing <= 1:
            raise ValueError(f"smoothing is {smoothing}; it must be from 0 (cross-entropy) to 1")
        self.smoothing = float(smoothing)

    def losses(self, relative_logits: Tensor, is_target: Tensor) -> Tensor:
        return F.softplus(
            log_odds(relative_logits, is_target)
        ) - self.smoothing * relative_logits.mean(dim=-1)
