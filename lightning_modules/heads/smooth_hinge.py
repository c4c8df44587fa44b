"""Smooth hinge: the margin of a support vector machine, without its kink."""

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
    """Smooth hinge loss: every other class should stay behind the target by a margin of 1.

    Luo, Qiao and Zhang, "Learning with smooth hinge losses" (Neurocomputing 463, 2021), have two
    smooth forms of max(0, 1 - a), where v = (1 - a)/sigma:

        psi_G = (1 - a) Phi(v) + sigma phi(v), Phi and phi being the normal distribution's;
        psi_M = (1 - a)(1 + v/sqrt(1 + v²))/2 + sigma/(2 sqrt(1 + v²)).

    Both lie above the hinge, by no more than sigma phi(0) = 0.4 sigma and sigma/2. Their paper has
    two classes. For more, the loss is the sum over all others v of psi(logit_c - logit_v), which is
    Weston and Watkins' (1999) machine; one class against the rest would need an absolute zero of
    the logits, which they have not, and Crammer and Singer's largest margin has a kink again.

    What it trains are margins: probabilities formed from the logits need not be calibrated.

    Args:
        in_features: Width of the features.
        num_classes: Number of classes.
        geometry: Loss head class that forms the logits; called with (in_features, num_classes).
        sigma: Width of the rounded kink, positive; the hinge itself is the limit of 0.
        form: 'gaussian' is psi_G, whose tail vanishes; 'algebraic' is psi_M, which never quite
            leaves a class in peace: sigma²/4 over its distance behind the margin.
        geometry_kwargs: Settings of the geometry, one value a member of an ensemble.

    Raises:
        ValueError: sigma is not positive, there is no such form, or the geometry does not fit.
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
            raise ValueError(f"sigma is {sigma}; it must be positive (the smaller, the sharper)")
        if form not in ("gaussian", "algebraic"):
            raise ValueError(f"form is {form!r}; choose one of gaussian, algebraic")
        self.sigma = float(sigma)
        self.form = form

    def losses(self, behind: Tensor, is_target: Tensor) -> Tensor:
        missing = 1.0 + behind  # (..., C), what the margin lacks: 1 - (logit_c - logit_v)
        v = missing / self.sigma
        if self.form == "gaussian":
            phi = torch.exp(-0.5 * v.square()) / math.sqrt(2 * math.pi)
            hinges = missing * 0.5 * torch.erfc(v / -math.sqrt(2)) + self.sigma * phi
        else:
            # psi_M, its two terms put together: sigma (v + sqrt(1 + v²))/2. Behind the margin that
            # is a difference of large numbers, so that it is written as 1/(sqrt(1 + v²) - v) there.
            root = torch.sqrt(1.0 + v.square())
            total = torch.where(v > 0, root + v, 1.0 / (root + v.abs()))
            hinges = 0.5 * self.sigma * total
        return hinges.masked_fill(is_target, 0.0).sum(dim=-1)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, form={self.form}"
