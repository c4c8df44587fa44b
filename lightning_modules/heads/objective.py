"""Objectives that go with any geometry: what heads have in common that wrap another head.

A head is a geometry (features to logits) and an objective (logits or features, and targets, to a
loss). The heads of this file hold a head for the geometry, whose logits are theirs, and bring an
objective of their own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from lightning_modules.heads.base import LossHead, masked_mean
from lightning_modules.heads.cross_entropy import CrossEntropyHead


class WrappingHead(LossHead):
    """A head whose logits are another's: weight, tying and padding rows are the geometry's.

    A new objective begins as its geometry does alone with the same seed. ``weight`` is one
    parameter under two names, ``weight`` and ``geometry.weight``, as a tied embedding is.

    Args:
        in_features: Width of the features.
        num_classes: Number of classes.
        geometry: Loss head class whose logits are taken; called with (in_features, num_classes).
        geometry_kwargs: Its settings in which the members of an ensemble differ (``head_settings``);
            all others are set where the geometry is named.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        geometry: Callable[..., LossHead] = CrossEntropyHead,
        **geometry_kwargs: float,
    ) -> None:
        nn.Module.__init__(self)  # LossHead's would draw a weight that nobody reads
        self.geometry = geometry(in_features, num_classes, **geometry_kwargs)
        self.in_features, self.num_classes = in_features, num_classes
        self.weight = self.geometry.weight
        self.is_distance_based = self.geometry.is_distance_based

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.geometry(features)
        return logits

    @abstractmethod
    def loss(self, features: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
        """The objective, as :meth:`LossHead.loss` otherwise."""

    def tie(self, embedding: nn.Parameter, num_padding: int = 0) -> None:
        self.geometry.tie(embedding, num_padding)
        self.weight = self.geometry.weight

    def settings_to_buffers(self, names: Iterable[str]) -> None:
        names = list(names)
        own = [name for name in names if hasattr(self, name)]
        super().settings_to_buffers(own)
        self.geometry.settings_to_buffers(name for name in names if name not in own)

    def extra_repr(self) -> str:
        held = (
            f"{name}={value:g}" if isinstance(value, float) else f"{name} of each member"
            for name in sorted(self.member_settings)
            for value in [getattr(self, name)]
        )
        return ", ".join([super().extra_repr(), *held])


class LogitObjectiveHead(WrappingHead):
    """An objective of the logits, a mean over examples.

    The logits are formed, never fused: a vocabulary of 50,304 takes the memory that
    ``heads/fused.py`` saves.

    Raises:
        ValueError: The geometry has an objective of its own, or its loss is to be fused.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        geometry: Callable[..., LossHead] = CrossEntropyHead,
        **geometry_kwargs: float,
    ) -> None:
        super().__init__(in_features, num_classes, geometry, **geometry_kwargs)
        ours, theirs = type(self).__name__, type(self.geometry).__name__
        if isinstance(self.geometry, WrappingHead):
            raise ValueError(
                f"the geometry of {ours} is {theirs}, an objective like itself; choose a head that "
                f"says how logits are formed, such as CrossEntropyHead or HarmonicHead"
            )
        if self.geometry.fused:
            raise ValueError(
                f"fused is true in the geometry of {ours}, which needs the logits; leave it null"
            )

    def uses_fused_loss(self) -> bool:
        return False

    def loss(self, features: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
        counted = targets != ignore_index
        target = torch.where(counted, targets, 0).unsqueeze(-1)  # (..., 1)
        logits = self.geometry(features)  # (..., C)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        logits = logits.masked_fill(~counted.unsqueeze(-1), 0.0)
        is_target = torch.arange(self.num_classes, device=logits.device) == target  # (..., C)
        behind = logits - logits.gather(-1, target)  # (..., C), 0 at the target
        return masked_mean(self.losses(behind, is_target), counted)

    @abstractmethod
    def losses(self, behind: Tensor, is_target: Tensor) -> Tensor:
        """The loss of every example, (...).

        Args:
            behind: (..., C), each class's logit minus the target's, which is log(p_v / p_c): all
                that a loss may depend on, since logits are known up to a constant only.
            is_target: (..., C), true at the target, once in a row.
        """


class FeatureObjectiveHead(WrappingHead):
    """An objective that compares the features of a batch with one another, and needs no logits.

    Accuracy, probes and sampling need them still. So the geometry is trained beside it, by its own
    loss, on *detached* features: it reads them and does not shape them (linear evaluation). The
    loss is the sum of the two. That holds for the unembedding alone: if it is tied to the network's
    embedding, the geometry's loss reaches that, and ``tie_embedding: false`` keeps it apart.

    An example is compared with all others of its batch whose target counts, and has a part in the
    mean if one of them is of its class; without any such example the objective is 0. A batch is
    what one process sees: of examples that are spread over ranks or micro-batches only those that
    came together are compared, so that two ranks do not train as one does. (The seeds of a
    ``Classifier`` are spread whole: each sees its batch.) N examples take N² numbers.

    Raises:
        ValueError: The geometry compares examples as well.
    """

    uses_pairwise_loss = True

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        geometry: Callable[..., LossHead] = CrossEntropyHead,
        **geometry_kwargs: float,
    ) -> None:
        super().__init__(in_features, num_classes, geometry, **geometry_kwargs)
        if self.geometry.uses_pairwise_loss:
            raise ValueError(
                f"the geometry of {type(self).__name__} is {type(self.geometry).__name__}, whose "
                f"loss is one of features, which do not reach it; choose another, such as "
                f"CrossEntropyHead or HarmonicHead"
            )

    def uses_fused_loss(self) -> bool:
        return self.geometry.uses_fused_loss()

    def loss(self, features: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
        evaluation = self.geometry.loss(features.detach(), targets, ignore_index)
        with torch.autocast(features.device.type, enabled=False):
            return evaluation + self.feature_loss(features, targets, ignore_index)

    def feature_loss(self, features: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
        """The part of the loss that shapes the features, a scalar; as ``loss`` otherwise."""
        y = targets.reshape(-1)  # (N,)
        counted = y != ignore_index
        x = features.reshape(len(y), features.shape[-1]).to(
            torch.promote_types(features.dtype, torch.float32)
        )
        x = x.masked_fill(~counted[:, None], 0.0)  # (N, E)
        itself = torch.eye(len(y), dtype=torch.bool, device=y.device)
        others = counted[:, None] & counted & ~itself  # (N, N), in a row: compared with
        same = others & (y[:, None] == y)
        return masked_mean(self.losses(x, same, others), same.any(dim=-1))

    @abstractmethod
    def losses(self, x: Tensor, same: Tensor, others: Tensor) -> Tensor:
        """The loss of every example, (N,); finite where there is nothing to compare with.

        Args:
            x: Features (N, E), in float32 or better; 0 where the target does not count.
            same: (N, N), true at the examples of its class that a row's example is compared with.
            others: (N, N), true at all that it is compared with.
        """


def masked_logsumexp(values: Tensor, mask: Tensor) -> Tensor:
    """log sum exp over the last dimension where ``mask`` is true; finite where it is nowhere."""
    least = torch.finfo(values.dtype).min / 4  # two of them can be added and subtracted
    return values.masked_fill(~mask, least).logsumexp(dim=-1)
