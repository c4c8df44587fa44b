"""How a large model is optimized: which parameters decay, and the learning rate at each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import nn
from torch.optim.lr_scheduler import LambdaLR


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


def override_restored_hyperparameters(
    module: L.LightningModule,
    learning_rate: float,
    weight_decays: Sequence[float],
    betas: tuple[float, float],
) -> None:
    """Let a module's settings act where a checkpoint's optimizer brought its own, and say so.

    To be called when training starts: behind the restore of optimizer and schedule, and before the
    first step. A run that begins anew has its settings already.

    Args:
        module: Its optimizer and schedule are those of the trainer.
        learning_rate: Peak of the schedule, or the constant.
        weight_decays: AdamW's, one a group.
        betas: AdamW's decay rates of its two moments.
    """
    optimizer: Any = module.optimizers(use_pl_optimizer=False)
    if not isinstance(optimizer, torch.optim.AdamW):
        return  # a subclass's own
    if not module.trainer.ckpt_path:
        for group in optimizer.param_groups:  # for the resume of a run whose rate is moved
            group.setdefault("initial_lr", learning_rate)
        return
    schedule: Any = module.lr_schedulers()
    changes = update_param_groups(optimizer, schedule, learning_rate, weight_decays, betas)
    if changes:
        rank_zero_info(f"going on with other settings than the checkpoint's: {', '.join(changes)}")


def update_param_groups(
    optimizer: torch.optim.AdamW,
    schedule: Any,
    learning_rate: float,
    weight_decays: Sequence[float],
    betas: tuple[float, float],
) -> list[str]:
    """Give an optimizer and its schedule other settings; equal ones stay as they are, to the bit.

    The learning rate is that of this step under the schedule. Under any but a ``LambdaLR`` it is
    left alone, and so is all of an optimizer with another number of groups.

    Args:
        optimizer: Its moments stay.
        schedule: Its schedule; None for a constant learning rate.
        learning_rate: Peak of the schedule, or the constant.
        weight_decays: One a group.
        betas: AdamW's decay rates of its two moments.

    Returns:
        What has changed: "learning_rate from 0.002 to 0.001".
    """
    groups = optimizer.param_groups
    if len(groups) != len(weight_decays):
        return []
    changes: dict[str, str] = {}
    for group, weight_decay in zip(groups, weight_decays, strict=True):
        if group["weight_decay"] != weight_decay:
            changes["weight_decay"] = f"from {group['weight_decay']} to {weight_decay}"
            group["weight_decay"] = weight_decay
        if tuple(group["betas"]) != tuple(betas):
            changes["betas"] = f"from {tuple(group['betas'])} to {tuple(betas)}"
            group["betas"] = tuple(betas)
        # The setting is the initial rate; a schedule or a callback may have moved it since.
        before = group.setdefault("initial_lr", group["lr"])
        if before != learning_rate and (schedule is None or isinstance(schedule, LambdaLR)):
            changes["learning_rate"] = f"from {before} to {learning_rate}"
            group["initial_lr"] = group["lr"] = learning_rate
    if isinstance(schedule, LambdaLR):
        schedule.base_lrs = [group["initial_lr"] for group in groups]
        shares = [share(schedule.last_epoch) for share in schedule.lr_lambdas]
        rates = [base * share for base, share in zip(schedule.base_lrs, shares, strict=True)]
        before = schedule.get_last_lr()
        if before != rates and "learning_rate" not in changes:
            changes["the schedule"] = f"from {before[0]:.3g} to {rates[0]:.3g} at this step"
        schedule._last_lr = rates
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
    return [f"{name} {change}" for name, change in changes.items()]
