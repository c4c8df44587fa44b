"""Dropout whose mask is a pure function of a key, and so reproducible anywhere."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MASK_32 = 0xFFFFFFFF
_MULTIPLIER = 0x45D9F3B  # odd and below 2^27: a 32-bit number times this stays within int64


class SeededDropout(nn.Module):
    """Inverted dropout with a counter-based mask: element i is kept iff hash(key, i) is large.

    ``nn.Dropout`` uses the global generator, so masks depend on what else is trained.
    Here the trainer of the model sets ``key`` before each step (see ``Ensemble``): a seed's masks
    are the same alone, among twenty seeds, and after a resume. The hash is also cheaper than random
    numbers. Without a key (None, the default) it is ordinary dropout.

    Args:
        p: Probability that an element is dropped.
        in_evaluation: Also drop in evaluation mode, as the harmonic-loss authors' transformers do
            by accident (they override ``train()``). Only for reproducing their numbers.

    Raises:
        ValueError: p is outside [0, 1).
    """

    key: Tensor | None

    def __init__(self, p: float, in_evaluation: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"dropout is {p}; it must be at least 0 and below 1")
        self.p = p
        self.in_evaluation = in_evaluation
        self.register_buffer("key", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.p == 0.0 or not (self.training or self.in_evaluation):
            return x
        if self.key is None:
            return F.dropout(x, self.p)
        counter = torch.arange(x.numel(), device=x.device).view(x.shape)
        keep = hash32(counter + self.key) >= int(self.p * 2**32)
        return x * keep * (1.0 / (1.0 - self.p))

    def extra_repr(self) -> str:
        return f"p={self.p}, in_evaluation={self.in_evaluation}"


def hash32(x: Tensor) -> Tensor:
    """A 32-bit integer hash (xor-shift-multiply, two rounds), element by element, in int64."""
    x = x & _MASK_32
    x = ((x ^ (x >> 16)) * _MULTIPLIER) & _MASK_32
    x = ((x ^ (x >> 16)) * _MULTIPLIER) & _MASK_32
    return x ^ (x >> 16)
