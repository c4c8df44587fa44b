"""The contract that every loss head keeps: features -> logits -> loss."""

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

# With more classes than this, storing every logit costs more than the extra bookkeeping.
_FUSED_ABOVE = 4096


class LossHead(nn.Module, ABC):
    """Base class of loss heads: a geometry (features to logits) and an objective (logits to loss).

    ``softmax(head(features))`` is the head's class distribution, whatever its geometry, so that
    accuracy, sampling and every probe work for every head without knowing which one it is.

    A new geometry writes ``forward`` and gets the loss of this class, -log of the target's
    probability. An objective goes with any geometry (``objective_head.py``).

    Attributes:
        weight: The unembedding, shape (num_classes, in_features) or more rows. One row per class;
            further rows, of an embedding padded for speed, are no classes and get no probability.
        num_classes: Number of classes.
        fused: Whether ``loss`` goes chunk by chunk (``heads/fused.py``), for heads with an operator
            there; None lets the number of classes decide.
    """

    weight: nn.Parameter
    fused: bool | None = False
    # Whether logits depend on distances, so that features and weights should start at one scale.
    is_distance_based: bool = False
    # Whether the loss compares the examples of a batch with one another, and is no mean over them.
    uses_pairwise_loss: bool = False
    # Numeric settings in which the members of one ensemble may differ: those that the class reads
    # anew in every forward pass. A subclass names its own, since it may derive things from them.
    member_settings: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        for name, value in (("in_features", in_features), ("num_classes", num_classes)):
            if value < 1:
                raise ValueError(f"{type(self).__name__}: {name} is {value}; it must be at least 1")
        self.in_features = in_features
        self.num_classes = num_classes
        # torch's default for a linear layer, U(-1/sqrt(in), 1/sqrt(in)), written out.
        bound = 1.0 / math.sqrt(in_features)
        self.weight = nn.Parameter(torch.empty(num_classes, in_features).uniform_(-bound, bound))

    def tie(self, embedding: nn.Parameter, num_padding: int = 0) -> None:
        """Use an embedding matrix of the network as this head's unembedding.

        Args:
            embedding: Parameter of shape (num_classes + num_padding, in_features); from now on one
                and the same tensor is read, and trained, in both places.
            num_padding: So many of its last rows belong to no class.

        Raises:
            ValueError: The shapes do not fit.
        """
        if num_padding < 0 or embedding.shape != (self.num_classes + num_padding, self.in_features):
            raise ValueError(
                f"cannot tie: the embedding is {tuple(embedding.shape)} and the unembedding of "
                f"{type(self).__name__} is {tuple(self.weight.shape)}; give the network an "
                f"embedding of the same width as its features, or set tie_embedding to false"
            )
        self.weight = embedding

    def settings_to_buffers(self, names: Iterable[str]) -> None:
        """Keep numeric settings as buffers, so that each member of an ensemble can have its own.

        Args:
            names: Of ``member_settings``. The loss is formed from the logits then, never fused.
        """
        for name in names:
            value = float(getattr(self, name))
            delattr(self, name)
            self.register_buffer(name, torch.tensor(value), persistent=False)
            self.fused = False

    def uses_fused_loss(self) -> bool:
        """Whether ``loss`` never forms the logits: ``fused``, or if it is None above 4,096 classes.

        ``torch.func`` cannot differentiate a fused operator; an ``Ensemble`` sets ``fused`` to
        False on its members.
        """
        return self.num_classes > _FUSED_ABOVE if self.fused is None else self.fused

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Logits, i.e. log-probabilities up to a constant: (..., in_features) -> (..., classes).

        Of the first ``num_classes`` rows of ``weight`` alone, as ``in_float32`` gives them.
        """

    def in_float32(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features, and the rows of ``weight`` that are classes, in float32 or better.

        Args:
            features: (..., in_features).

        Returns:
            (..., in_features) and (num_classes, in_features).
        """
        dtype = torch.promote_types(features.dtype, torch.float32)
        return features.to(dtype), self.weight[: self.num_classes].to(dtype)

    def loss(self, features: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
        """Mean loss over the targets that are not ``ignore_index``, a scalar.

        Unless a head has its own: -log softmax of the logits at the target, formed outside of
        autocast and from float32 logits.

        Args:
            features: (..., in_features).
            targets: (...), class indices or ``ignore_index``. With nothing but ignored targets the
                loss is 0 and so are its gradients.
            ignore_index: The target value that does not count.

        Raises:
            ValueError: ``forward`` does not give one logit for each class.
        """
        counted = targets != ignore_index
        target = torch.where(counted, targets, 0).unsqueeze(-1)  # (..., 1)
        with torch.autocast(features.device.type, enabled=False):
            # Autocast would have brought features and weights to one precision.
            logits = self(features.to(torch.promote_types(features.dtype, self.weight.dtype)))
            if logits.shape[-1] != self.num_classes:
                raise ValueError(
                    f"{type(self).__name__}.forward gives {logits.shape[-1]} logits for "
                    f"{self.num_classes} classes; form them of the rows that self.in_float32 "
                    f"returns, since further rows of weight are no classes"
                )
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            logits = logits.masked_fill(~counted.unsqueeze(-1), 0.0)
            is_target = torch.arange(self.num_classes, device=logits.device) == target  # (..., C)
            odds = log_odds(logits - logits.gather(-1, target), is_target)
            return masked_mean(F.softplus(odds), counted)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, num_classes={self.num_classes}"


def refuse_settings(head: Callable[..., Any], names: Iterable[str]) -> None:
    """Refuse settings in which members with this head cannot differ.

    Raises:
        ValueError: The head, a class or a ``partial`` of one, does not name them as its own or its
            geometry's.
    """
    known = _member_settings(head)
    for name in names:
        if name not in known:
            cls = _class_of(head)
            choices = ", ".join(sorted(known)) or "none"
            raise ValueError(
                f"{getattr(cls, '__name__', 'this head')} has no setting {name!r} that could "
                f"differ between members; those it has: {choices}"
            )


def _member_settings(head: Callable[..., Any]) -> frozenset[str]:
    """Of a head and, if it has one, of its geometry."""
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
    """The class that a ``partial`` builds; other functions are returned as they are.

    The command line's ``partial`` is of a function of jsonargparse's, with the class among its
    arguments.
    """
    parts = (head.func, *head.args) if isinstance(head, partial) else (head,)
    return next((part for part in parts if isinstance(part, type)), head)


def log_odds(behind: Tensor, is_target: Tensor) -> Tensor:
    """log((1 - p_c) / p_c), (...), of the target c; minus infinity if there is no other class.

    Its softplus is -log p_c with all its digits: 1e-12 does not become 0, as with log-softmax.

    Args:
        behind: (..., C), each class's logit minus the target's.
        is_target: (..., C), true at the target, once in a row.
    """
    return behind.masked_fill(is_target, -torch.inf).logsumexp(dim=-1)


def masked_mean(losses: Tensor, counted: Tensor) -> Tensor:
    """Mean of ``losses`` (...) where ``counted`` (...) is true; 0 when nothing is counted."""
    total = torch.where(counted, losses, 0.0).sum()
    return total / counted.sum().clamp_min(1)
