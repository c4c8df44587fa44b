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
    """Soft nearest neighbor loss of the features, and a readout that is trained beside it.

    Frosst, Papernot and Hinton, "Analyzing and improving representations with the soft nearest
    neighbor loss" (2019), §2, equation 1: an example picks a neighbor with probability
    proportional to exp(-|x_i - x_j|²/T), and pays -log of the probability that it is of its class.
    Here the loss is made small, so that classes come apart, at a fixed temperature; the paper also
    makes it large in hidden layers, and learns T. The mean goes over the examples that have
    another of their class in the batch.

    Shifting all features alike changes nothing. So a bias at the network's end has no gradient but
    rounding, which Adam takes for a direction: it wanders, and two runs that differ in rounding
    come to differ in it, and in a readout that is not indifferent to the shift.

    The geometry reads detached features: see :class:`FeatureObjectiveHead`.

    Args:
        in_features: Width of the features.
        num_classes: Number of classes.
        geometry: Loss head class that forms the logits; called with (in_features, num_classes).
        temperature: T, in units of squared distance: neighbors within sqrt(T) count most.
        geometry_kwargs: Settings of the geometry, one value a member of an ensemble.

    Raises:
        ValueError: The temperature is not positive, or the geometry does not fit.
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
            raise ValueError(f"temperature is {temperature}; it must be positive")
        self.temperature = float(temperature)

    def losses(self, x: Tensor, same: Tensor, others: Tensor) -> Tensor:
        # |x_i|² + |x_j|² - 2 x_i·x_j around the mean, which distances do not notice and the
        # rounding does. What is left of it, 1e-7 of |x|², is small beside T where it matters.
        x = x - x.detach().mean(dim=0)
        norms = x.square().sum(dim=-1)  # (N,)
        nearness = (2.0 * (x @ x.mT) - norms[:, None] - norms) / self.temperature  # (N, N)
        # -log(own / (own + different)), from the two sums: a small loss keeps its digits.
        own = masked_logsumexp(nearness, same)
        return F.softplus(masked_logsumexp(nearness, others & ~same) - own)
