"""The interface every loss head implements: features -> logits -> loss."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from inspect import signature
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Above this number of classes storing every logit costs more than the bookkeeping of chunks.
_FUSED_ABOVE = 4096


class LossHead(nn.Module, ABC):
    """Base class of loss heads: a geometry (features to logits) and an objective (logits to loss).

    ``softmax(head(features))`` is the head's class distribution for every geometry, so accuracy,
    sampling and probes work with any head.

    A new geometry implements ``forward`` and inherits the loss, -log of the target's probability.
    Objectives that work with any geometry are in ``objective.py``.

    Attributes:
        weight: The unembedding, (num_classes, in_features). A tied embedding that is padded for
            speed has further rows; they are not classes and get no probability.
        num_classes: Number of classes, C.
        fused: Whether ``loss`` is computed in chunks without storing the logits (``heads/fused``),
            for heads that support it; None decides by the number of classes.
        is_distance_based: Whether logits depend on distances, so that features and weights should
            start at the same scale.
        uses_pairwise_loss: Whether the loss compares the examples of a batch with one another,
            instead of being a mean over examples.
        member_settings: Numeric settings that may differ between the members of an ensemble: those
            that the class reads in every forward pass. A subclass must list its own again.
    """

    weight: nn.Parameter
    fused: bool | None = False
    is_distance_based: bool = False
    uses_pairwise_loss: bool = False
    member_settings: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        for name, value in (("in_features", in_features), ("num_classes", num_classes)):
            if value < 1:
                raise ValueError(f"{type(self).__name__}: {name} is {value}; it must be at least 1")
        self.in_features = in_features
        self.num_classes = num_classes
        # torch's default for a linear layer: U(-1/sqrt(in), 1/sqrt(in)).
        bound = 1.0 / math.sqrt(in_features)
        self.weight = nn.Parameter(torch.empty(num_classes, in_features).uniform_(-bound, bound))

    def tie(self, embedding: nn.Parameter, num_padding: int = 0) -> None:
        """Use an embedding matrix of the network as this head's unembedding.

        Args:
            embedding: Parameter of shape (num_classes + num_padding, in_features), shared from now
                on by the network and the head.
            num_padding: Number of trailing padding rows that are not classes.

        Raises:
            ValueError: The embedding has another shape.
        """
        if num_padding < 0 or embedding.shape != (self.num_classes + num_padding, self.in_features):
            raise ValueError(
                f"tie_embedding: the embedding has shape {tuple(embedding.shape)}, expected "
                f"{tuple(self.weight.shape)} ({type(self).__name__}) plus padding rows; make the "
                f"embedding as wide as the features, or set tie_embedding to false"
            )
        self.weight = embedding

    def settings_to_buffers(self, names: Iterable[str]) -> None:
        """Turn numeric settings into buffers, so that each member of an ensemble can have its own.

        Args:
            names: Names from ``member_settings``. Disables the fused loss.
        """
        for name in names:
            value = float(getattr(self, name))
            delattr(self, name)
            self.register_buffer(name, torch.tensor(value), persistent=False)
            self.fused = False

    def uses_fused_loss(self) -> bool:
        """Whether ``loss`` avoids storing the logits: ``fused``, or by default above 4,096 classes.

        ``torch.func`` cannot differentiate the fused operators: an ``Ensemble`` sets ``fused`` to
        False on its members.
        """
        return self.num_classes > _FUSED_ABOVE if self.fused is None else self.fused

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Logits, i.e. log-probabilities up to a constant: (..., in_features) -> (..., C).

        Must use only the first ``num_classes`` rows of ``weight``, as ``in_float32`` returns them.
        """

    def in_float32(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (..., E) and the class rows of ``weight`` (C, E), in float32 or better."""
        dtype = torch.promote_types(features.dtype, torch.float32)
        return features.to(dtype), self.weight[: self.num_classes].to(dtype)

    def loss(self, features: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
        """Mean loss over the targets that are not ``ignore_index``, a scalar.

        The default is -log softmax of the logits at the target, from float32 logits, outside of
        autocast.

        Args:
            features: (..., in_features); those of ignored targets may be non-finite.
            targets: (...), class indices or ``ignore_index``. If all are ignored, the loss and its
                gradients are 0.
            ignore_index: Targets with this value are left out of the mean.

        Raises:
            ValueError: ``forward`` does not return one logit per class.
        """
        x, target, valid = mask_ignored(features, targets, ignore_index)
        with torch.autocast(x.device.type, enabled=False):
            # Outside of autocast features and weight may differ in precision.
            x = x.to(torch.promote_types(x.dtype, self.weight.dtype))
            logits = self._logits_for_loss(x, target)
            if logits.shape[-1] != self.num_classes:
                raise ValueError(
                    f"{type(self).__name__}.forward returned {logits.shape[-1]} logits for "
                    f"num_classes={self.num_classes}; use the rows that self.in_float32 returns"
                )
            relative_logits, is_target = relative_to_target(logits, target)
            return masked_mean(F.softplus(log_odds(relative_logits, is_target)), valid)

    def _logits_for_loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Logits that ``loss`` is formed from; ``target`` (..., 1) may serve to refine some."""
        logits: Tensor = self(features)
        return logits

    def extra_repr(self) -> str:
        parts = [f"in_features={self.in_features}", f"num_classes={self.num_classes}"]
        for name in sorted(self.member_settings):
            value = getattr(self, name)
            parts.append(f"{name}={value:g}" if isinstance(value, float) else f"{name} per member")
        return ", ".join(parts)


def refuse_settings(head: Callable[..., Any], names: Iterable[str]) -> None:
    """Raise a ValueError if members of an ensemble with this head cannot differ in a setting."""
    known = _member_settings(head)
    for name in names:
        if name not in known:
            cls = _class_of(head)
            choices = ", ".join(sorted(known)) or "none"
            raise ValueError(
                f"head_settings: {name!r} of {getattr(cls, '__name__', 'this head')} cannot differ "
                f"between members; choose from: {choices}"
            )


def _member_settings(head: Callable[..., Any]) -> frozenset[str]:
    """``member_settings`` of a head and, if it has one, of its geometry."""
    cls = _class_of(head)
    chosen = head.keywords if isinstance(head, partial) else {}
    own: frozenset[str] | None = getattr(cls, "__dict__", {}).get("member_settings")
    if own is None:
        return frozenset()
    options = signature(cls).parameters
    if "geometry" not in options:
        return own
    return own | _member_settings(chosen.get("geometry", options["geometry"].default))


def _class_of(head: Callable[..., Any]) -> Callable[..., Any]:
    """The class that a ``partial`` builds; other callables unchanged.

    jsonargparse's ``partial`` wraps a function that takes the class as an argument.
    """
    parts = (head.func, *head.args) if isinstance(head, partial) else (head,)
    return next((part for part in parts if isinstance(part, type)), head)


def mask_ignored(
    features: Tensor, targets: Tensor, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Make ignored targets affect neither loss nor gradients.

    Returns features (..., E) with zeros and targets (..., 1) with class 0 at ignored targets; and
    ``valid`` (...), false there.
    """
    valid = targets != ignore_index
    features = features.masked_fill(~valid.unsqueeze(-1), 0.0)
    return features, torch.where(valid, targets, 0).unsqueeze(-1), valid


def relative_to_target(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Logits minus the target's, in float32 or better, and a mask of the target, both (..., C)."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    is_target = torch.arange(logits.shape[-1], device=logits.device) == target
    return logits - logits.gather(-1, target), is_target


def log_odds(relative_logits: Tensor, is_target: Tensor) -> Tensor:
    """log((1 - p_c) / p_c), (...), of the target c; -inf if there is no other class.

    Its softplus is -log p_c to full precision: log-softmax would round 1e-12 to 0.
    """
    return relative_logits.masked_fill(is_target, -torch.inf).logsumexp(dim=-1)


def masked_mean(losses: Tensor, valid: Tensor) -> Tensor:
    """Mean of ``losses`` (...) where ``valid`` (...) is true; 0 where it never is."""
    total = torch.where(valid, losses, 0.0).sum()
    return total / valid.sum().clamp_min(1)
