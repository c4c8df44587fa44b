"""Inner-product logits and cross-entropy: the baseline head."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.heads.base import LossHead, mask_ignored
from lightning_modules.heads.fused import fused_cross_entropy


class CrossEntropyHead(LossHead):
    """Linear unembedding with softmax cross-entropy (harmonic-loss paper §3, equations 1 and 2).

    Args:
        in_features: Width of the features.
        num_classes: Number of classes.
        bias: Add a bias to each logit. The paper has none; the authors' code has one in the MLP.
            The harmonic head has none, so a fair comparison leaves it out.
        fused: Compute the loss in chunks without storing the logits (``heads/fused``); null does so
            above 4,096 classes.
    """

    bias: nn.Parameter | None

    def __init__(
        self, in_features: int, num_classes: int, bias: bool = False, fused: bool | None = None
    ) -> None:
        super().__init__(in_features, num_classes)
        self.fused = fused
        if bias:
            bound = 1.0 / math.sqrt(in_features)
            self.bias = nn.Parameter(torch.empty(num_classes).uniform_(-bound, bound))
        else:
            self.register_parameter("bias", None)

    def forward(self, features: Tensor) -> Tensor:
        if len(self.weight) == self.num_classes:
            return F.linear(features, self.weight, self.bias)  # (..., C)
        # Padding makes this product fast, so it is cut off afterwards.
        logits = F.linear(features, self.weight)[..., : self.num_classes]
        return logits if self.bias is None else logits + self.bias

    def loss(self, features: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
        if self.uses_fused_loss():
            return fused_cross_entropy(
                features, self.weight, targets, self.bias, self.num_classes, ignore_index
            )
        x, _, valid = mask_ignored(features, targets, ignore_index)
        logits = self(x).reshape(-1, self.num_classes)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        targets = targets.reshape(-1)
        # torch's own mean is NaN if every target is ignored.
        total = F.cross_entropy(logits, targets, ignore_index=ignore_index, reduction="sum")
        return total / valid.sum().clamp_min(1)
