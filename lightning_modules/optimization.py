"""How a large model is optimised: which parameters decay, and the learning rate at each step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for AdamW: matrices, which decay, and vectors (biases, gains), which do not.

    A decaying gain would pull a layer norm towards silence. A tied matrix counts once.

    Args:
        module: Its trainable parameters are grouped.
        weight_decay: Of the first group.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]


def warmup_cosine(step: int, warmup_steps: int, decay_steps: int, floor: float) -> float:
    """Share of the peak learning rate at a step: linear from 0 to 1, then a cosine to ``floor``.

    Args:
        step: Optimizer steps done before; the first step already has a rate above 0.
        warmup_steps: Steps of the rise.
        decay_steps: Step at which the floor is reached; it stays there.
        floor: Share of the peak at the end, 0 to 1.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, decay_steps - warmup_steps))
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))


def clip_gradients(module: nn.Module, max_norm: float) -> torch.Tensor:
    """Scale all gradients so that their joint norm is at most ``max_norm``.

    Returns:
        The norm before, a scalar on the device; not read here, which would wait for the device.
    """
    return torch.nn.utils.clip_grad_norm_(module.parameters(), max_norm)
