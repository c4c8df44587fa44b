"""Smooth hinge: the margin loss of a support vector machine, without its kink."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lightning_modules.heads.base import LossHead
from lightning_modules.heads.cross_entropy import CrossEntropyHead
from lightning_modules.heads.objective import LogitObjectiveHead


class SmoothHingeHead(LogitObjectiveHead):
    """Smooth hinge loss: the target's logit should exceed every other by a margin of 1.

    Luo, Qiao and Zhang, "Learning with smooth hinge losses" (Neurocomputing 463, 2021), define two
    smooth forms of max(0, 1 - a), where v = (1 - a)/sigma:

        psi_G = (1 - a) Phi(v) + sigma phi(v), with the normal distribution's Phi and phi;
        psi_M = (1 - a)(1 + v/sqrt(1 + v²))/2 + sigma/(2 sqrt(1 + v²)).

    Both lie above the hinge, by at most sigma phi(0) = 0.4 sigma and sigma/2. The paper treats two
    classes. For more, the loss is the sum over all other classes v of psi(logit_c - logit_v), as in
    Weston and Watkins (1999). One-versus-rest would need an absolute zero of the logits, and
    Crammer and Singer's largest margin has a kink.

    The loss trains margins, so probabilities from these logits need not be calibrated.

    Args:
        in_features: Width of the features.
        num_classes: Number of classes.
        geometry: Loss head class that forms the logits; called with (in_features, num_classes).
        sigma: Width of the rounded kink, positive; the hinge itself is the limit of 0.
        form: 'gaussian' is psi_G; 'algebraic' is psi_M, whose gradient never vanishes: beyond the
            margin psi_M falls as sigma²/4 over the distance to it.
        geometry_kwargs: Settings of the geometry that differ between the members of an ensemble.

    Raises:
        ValueError: sigma is not positive, the form is unknown, or the geometry is an objective.
    """

    member_settings: ClassVar[frozenset[str]] = frozenset({"sigma"})

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        geometry: Callable[[int, int], LossHead] = CrossEntropyHead,
        sigma: float = 1.0,
        form: Literal["gaussian", "algebraic"] = "gaussian",
        **geometry_kwargs: float,
    ) -> None:
        super().__init__(in_features, num_classes, geometry, **geometry_kwargs)
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma is {sigma}; it must be positive and finite")
        if form not in ("gaussian", "algebraic"):
            raise ValueError(f"form is {form!r}; choose one of gaussian, algebraic")
        self.sigma = float(sigma)
        self.form = form

    def losses(self, relative_logits: Tensor, is_target: Tensor) -> Tensor:
        shortfall = 1.0 + relative_logits  # (..., C), 1 - (logit_c - logit_v)
        v = shortfall / self.sigma
        if self.form == "gaussian":
            phi = torch.exp(-0.5 * v.square()) / math.sqrt(2 * math.pi)
            hinges = shortfall * 0.5 * torch.erfc(v / -math.sqrt(2)) + self.sigma * phi
        else:
            # psi_M = sigma (v + sqrt(1 + v²))/2. For v < 0 that is a difference of large numbers,
            # so it is written as 1/(sqrt(1 + v²) - v) there.
            root = torch.sqrt(1.0 + v.square())
            total = torch.where(v > 0, root + v, 1.0 / (root + v.abs()))
            hinges = 0.5 * self.sigma * total
        return hinges.masked_fill(is_target, 0.0).sum(dim=-1)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, form={self.form}"
