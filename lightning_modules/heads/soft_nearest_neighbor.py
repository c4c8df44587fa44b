"""Soft nearest neighbor loss: an example's neighbors should be of its class."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from lightning_modules.heads.base import LossHead
from lightning_modules.heads.cross_entropy import CrossEntropyHead
from lightning_modules.heads.objective import FeatureObjectiveHead, masked_logsumexp


class SoftNearestNeighborHead(FeatureObjectiveHead):
    """Soft nearest neighbor loss of the features, plus the loss of a readout on detached features.

    Frosst, Papernot and Hinton, "Analyzing and improving representations with the soft nearest
    neighbor loss" (2019), §2, equation 1: an example picks a neighbor with probability
    proportional to exp(-|x_i - x_j|²/T); its loss is -log of the probability that the neighbor has
    its class. Here the loss is minimized at a fixed temperature; the paper also maximizes it in
    hidden layers and learns T. The mean is over the examples that share their class with another
    one in the batch; see :class:`FeatureObjectiveHead`.

    The loss is invariant to a shift of all features. So the gradient of a bias at the network's end
    is rounding error, which Adam amplifies: that bias drifts, and runs that differ in rounding
    differ in it.

    Args:
        in_features: Width of the features.
        num_classes: Number of classes.
        geometry: Loss head class that forms the logits; called with (in_features, num_classes).
        temperature: T, in units of squared distance: neighbors within sqrt(T) matter most.
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
        temperature: float = 1.0,
        **geometry_kwargs: float,
    ) -> None:
        super().__init__(in_features, num_classes, geometry, **geometry_kwargs)
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature is {temperature}; it must be positive and finite")
        self.temperature = float(temperature)

    def losses(self, x: Tensor, same: Tensor, others: Tensor) -> Tensor:
        # |x_i|² + |x_j|² - 2 x_i·x_j around the mean, which makes |x| and its rounding small.
        x = x - x.detach().mean(dim=0)
        norms = x.square().sum(dim=-1)  # (N,)
        nearness = (2.0 * (x @ x.mT) - norms[:, None] - norms) / self.temperature  # (N, N)
        # -log(own / (own + different)) as a softplus: a small loss keeps its digits.
        own = masked_logsumexp(nearness, same)
        return F.softplus(masked_logsumexp(nearness, others & ~same) - own)
