"""Base classes of objectives that work with any geometry by wrapping another head.

A head is a geometry (features to logits) and an objective (logits or features, and targets, to a
loss). These heads take the geometry from another head and add their own objective.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from lightning_modules.heads.base import (
    LossHead,
    mask_ignored,
    masked_mean,
    relative_to_target,
)
from lightning_modules.heads.cross_entropy import CrossEntropyHead


class WrappingHead(LossHead):
    """A head that delegates its logits to another head, its geometry.

    It starts with the same weights as the geometry alone with the same seed. ``weight`` and
    ``geometry.weight`` are one parameter under two names.

    Args:
        in_features: Width of the features.
        num_classes: Number of classes.
        geometry: Loss head class that forms the logits; called with (in_features, num_classes).
        geometry_kwargs: Settings of the geometry that differ between the members of an ensemble
            (``head_settings``).
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        geometry: Callable[..., LossHead] = CrossEntropyHead,
        **geometry_kwargs: float,
    ) -> None:
        nn.Module.__init__(self)  # LossHead's would draw a second weight
        self.geometry = geometry(in_features, num_classes, **geometry_kwargs)
        self._check_geometry()
        self.in_features, self.num_classes = in_features, num_classes
        self.weight = self.geometry.weight
        self.is_distance_based = self.geometry.is_distance_based

    @abstractmethod
    def _check_geometry(self) -> None:
        """Raise a ValueError if the objective does not work with ``self.geometry``."""

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.geometry(features)
        return logits

    @abstractmethod
    def loss(self, features: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
        """The objective; arguments as in :meth:`LossHead.loss`."""

    def tie(self, embedding: nn.Parameter, num_padding: int = 0) -> None:
        self.geometry.tie(embedding, num_padding)
        self.weight = self.geometry.weight

    def settings_to_buffers(self, names: Iterable[str]) -> None:
        names = list(names)
        own = [name for name in names if hasattr(self, name)]
        super().settings_to_buffers(own)
        self.geometry.settings_to_buffers(name for name in names if name not in own)


class LogitObjectiveHead(WrappingHead):
    """An objective of the logits, a mean over examples. All logits are stored, never fused.

    Raises:
        ValueError: The geometry is itself an objective, or its ``fused`` is true.
    """

    def _check_geometry(self) -> None:
        name, geometry_name = type(self).__name__, type(self.geometry).__name__
        if isinstance(self.geometry, WrappingHead):
            raise ValueError(
                f"{name}: geometry is {geometry_name}, which is an objective; choose a geometry "
                f"such as CrossEntropyHead or HarmonicHead"
            )
        if self.geometry.fused:
            raise ValueError(f"{name}: fused is true in its geometry; set it to null")

    def uses_fused_loss(self) -> bool:
        return False

    def loss(self, features: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
        x, target, valid = mask_ignored(features, targets, ignore_index)
        relative_logits, is_target = relative_to_target(self.geometry(x), target)  # (..., C) each
        return masked_mean(self.losses(relative_logits, is_target), valid)

    @abstractmethod
    def losses(self, relative_logits: Tensor, is_target: Tensor) -> Tensor:
        """The loss of every example, (...).

        Args:
            relative_logits: (..., C), each class's logit minus the target's, log(p_v / p_c). A loss
                may depend on these alone, since logits are defined up to a constant.
            is_target: (..., C), true at the target.
        """


class FeatureObjectiveHead(WrappingHead):
    """An objective that compares the features of a batch with one another, without logits.

    The geometry, which accuracy, probes and sampling need, is trained by its own loss on *detached*
    features, as in linear evaluation. The loss is the sum of both. With a tied embedding the
    geometry's loss reaches the network through it; set ``tie_embedding: false`` to prevent that.

    An example is compared with all valid examples of its batch. It contributes to the mean only if
    another example in the batch has its class; without any such example the objective is 0. A batch
    is what one process sees: examples on different ranks or in different micro-batches are not
    compared, so two ranks do not train as one does. (A ``Classifier`` keeps each seed's batch on
    one rank.) Memory grows with the square of the number of examples N.

    Raises:
        ValueError: The geometry compares examples as well.
    """

    uses_pairwise_loss = True

    def _check_geometry(self) -> None:
        if self.geometry.uses_pairwise_loss:
            raise ValueError(
                f"{type(self).__name__}: geometry is {type(self.geometry).__name__}, whose loss "
                f"trains features but gets detached ones; choose a geometry such as "
                f"CrossEntropyHead or HarmonicHead"
            )

    def uses_fused_loss(self) -> bool:
        return self.geometry.uses_fused_loss()

    def loss(self, features: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
        evaluation = self.geometry.loss(features.detach(), targets, ignore_index)
        with torch.autocast(features.device.type, enabled=False):
            return evaluation + self.feature_loss(features, targets, ignore_index)

    def feature_loss(self, features: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
        """The part of the loss that trains the features, a scalar; arguments as in ``loss``."""
        y = targets.reshape(-1)  # (N,)
        valid = y != ignore_index
        x = features.reshape(len(y), features.shape[-1]).to(
            torch.promote_types(features.dtype, torch.float32)
        )
        x = x.masked_fill(~valid[:, None], 0.0)  # (N, E)
        itself = torch.eye(len(y), dtype=torch.bool, device=y.device)
        others = valid[:, None] & valid & ~itself  # (N, N), whom each row is compared with
        same = others & (y[:, None] == y)
        return masked_mean(self.losses(x, same, others), same.any(dim=-1))

    @abstractmethod
    def losses(self, x: Tensor, same: Tensor, others: Tensor) -> Tensor:
        """The loss of every example, (N,); must be finite where there is nothing to compare.

        Args:
            x: Features (N, E), in float32 or better; 0 where the target is ignored.
            same: (N, N), true at the other examples of the row's class.
            others: (N, N), true at all other valid examples.
        """


def masked_logsumexp(values: Tensor, mask: Tensor) -> Tensor:
    """log sum exp over the last dimension where ``mask`` is true; finite if it never is."""
    lowest = torch.finfo(values.dtype).min / 4  # sums and differences of two stay finite
    return values.masked_fill(~mask, lowest).logsumexp(dim=-1)
