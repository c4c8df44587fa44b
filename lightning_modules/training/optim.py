"""AdamW's settings, its parameter groups, learning-rate schedules, and settings after a resume."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

CompileMode = Literal["auto", "always", "never"]
# Options of a parameter group that configs set. "initial_lr" is the rate before any schedule.
_CONFIGURED = ("initial_lr", "weight_decay", "betas", "momentum")


@dataclass(frozen=True)
class AdamWSettings:
    """Hyper-parameters of AdamW; a ValueError if one is out of range."""

    learning_rate: float
    weight_decay: float
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be positive")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay is {self.weight_decay}; it must not be negative")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}; both must be at least 0 and below 1")

    def optimizer(self, parameters: Iterable[Any], fused: bool = True) -> torch.optim.AdamW:
        """AdamW on these parameters or parameter groups."""
        rate, betas = self.learning_rate, (self.betas[0], self.betas[1])  # YAML has a list
        return torch.optim.AdamW(
            parameters, rate, betas, weight_decay=self.weight_decay, fused=fused
        )


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise a ValueError if an option is not one of its choices."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}")


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two parameter groups: matrices, which decay, and vectors (biases, gains), which do not.

    Decay of a gain would only shrink the layer norm's output. A tied matrix counts once.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]


def warmup_cosine(step: int, warmup_steps: int, decay_steps: int, floor: float) -> float:
    """Fraction of the peak learning rate at a step, counted from 0.

    Linear from 0 to 1 (the first step is above 0), then a cosine that reaches ``floor`` at
    ``decay_steps`` and stays there.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, decay_steps - warmup_steps))
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))


def configured_hyperparameters(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The options of each parameter group that configs set, before a checkpoint is restored.

    Also stores each group's learning rate as its "initial_lr", as schedules do, so that a
    checkpoint of a run whose rate was moved contains the rate of its config.
    """
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return [
        {name: group[name] for name in _CONFIGURED if name in group}
        for group in optimizer.param_groups
    ]


def override_restored_hyperparameters(
    optimizer: torch.optim.Optimizer,
    configured: Sequence[Mapping[str, Any]],
    learning_rate: bool = True,
) -> list[str]:
    """Override optimizer hyper-parameters restored from a checkpoint with the config's.

    Equal values stay the same bits, and so does a learning rate that a callback has moved. Of the
    learning rate only the initial value is set; see ``rebuild_schedule``. Returns what has changed,
    such as "learning_rate from 0.002 to 0.001".
    """
    changes: dict[str, str] = {}
    for group, options in zip(optimizer.param_groups, configured, strict=True):
        group.setdefault("initial_lr", group["lr"])  # absent in old checkpoints
        for name, value in options.items():
            before = group.get(name)
            if before == value or (name == "initial_lr" and not learning_rate):
                continue
            group[name] = value
            if name == "initial_lr":
                name, group["lr"] = "learning_rate", value
            changes.setdefault(name, f"from {before} to {value}")
    return [f"{name} {change}" for name, change in changes.items()]


def rebuild_schedule(optimizer: torch.optim.Optimizer, schedule: LambdaLR) -> LambdaLR:
    """The same schedule at the same step, from the optimizer's present "initial_lr"."""
    return LambdaLR(optimizer, schedule.lr_lambdas, last_epoch=schedule.last_epoch - 1)
