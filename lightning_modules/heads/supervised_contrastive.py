"""Supervised contrastive loss: examples of a class should have similar directions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from lightning_modules.heads.base import LossHead
from lightning_modules.heads.cross_entropy import CrossEntropyHead
from lightning_modules.heads.objective import FeatureObjectiveHead, masked_logsumexp


class SupervisedContrastiveHead(FeatureObjectiveHead):
    """Supervised contrastive loss of the features' directions, plus a readout's loss.

    Khosla et al., "Supervised contrastive learning" (2020), §3.2.2, equation 2 (L_out): with
    z = x/|x|, the loss of example i is the mean, over the other examples p of its class, of
    -log(exp(z_i·z_p/T) / sum over all others a of exp(z_i·z_a/T)). The mean is over the examples
    that share their class with another one in the batch. There is one view of each example and no
    projection network. The factor T/0.07 of the authors' code, which only scales the learning rate,
    is left out.

    The minimum is above 0: log k for an example with k others of its class. The readout gets
    detached features that are not normalized; see :class:`FeatureObjectiveHead`.

    Args:
        in_features: Width of the features.
        num_classes: Number of classes.
        geometry: Loss head class that forms the logits; called with (in_features, num_classes).
        temperature: T, in units of a cosine (0.1 in the paper).
        geometry_kwargs: Settings of the geometry that differ between the members of an ensemble.

    Raises:
        ValueError: The temperature is not positive, or the geometry compares examples as well.
    """

    member_settings: ClassVar[frozenset[str]] = frozenset({"temperature"})

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        geometry: Callable[[int, int], LossHead] = CrossEntropyHead,
        temperature: float = 0.1,
        **geometry_kwargs: float,
    ) -> None:
        super().__init__(in_features, num_classes, geometry, **geometry_kwargs)
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature is {temperature}; it must be positive and finite")
        self.temperature = float(temperature)

    def losses(self, x: Tensor, same: Tensor, others: Tensor) -> Tensor:
        norms = torch.linalg.vector_norm(x, dim=-1, keepdim=True)  # (N, 1)
        # A feature of exactly 0 (after a ReLU, say) stays 0, so that its gradient is finite.
        z = x / torch.where(norms > 0, norms, 1.0)
        cosines = (z @ z.mT) / self.temperature  # (N, N)
        log_total = masked_logsumexp(cosines, others)[:, None]
        losses = torch.where(same, log_total - cosines, 0.0).sum(dim=-1)
        return losses / same.sum(dim=-1).clamp_min(1)
