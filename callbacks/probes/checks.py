"""What probes check before a run, and what they read of module and data module."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor

from glassbox.protocols import HasTask, StructuredTask


def incompatible(owner: object, needs: str, given: object, example: str) -> ValueError:
    """The error for a module or data module that a callback cannot measure.

    Args:
        owner: The callback.
        needs: What it needs, such as "a module with an embedding".
        given: The module or data module that lacks it.
        example: A class that has it.
    """
    name = type(owner).__name__
    return ValueError(
        f"{name} needs {needs}, which {type(given).__name__} does not have; use {example}, or "
        f"remove {name} from trainer.callbacks"
    )


def datamodule_of(trainer: L.Trainer) -> object:
    """The run's data module; None where a run has loaders only."""
    return getattr(trainer, "datamodule", None)


def task_of(trainer: L.Trainer, owner: object) -> StructuredTask:
    """The task that is trained on, for probes that need its structure.

    Raises:
        ValueError: The data module has no task.
    """
    data = datamodule_of(trainer)
    if not isinstance(data, HasTask) or data.task is None:
        raise incompatible(owner, "a data module with a task", data, "AlgorithmicData")
    return data.task


def validation_examples(trainer: L.Trainer, device: torch.device) -> tuple[Tensor, Tensor]:
    """The first validation batch without its filler columns.

    Returns:
        Inputs (S, N, ...) and targets (S, N).
    """
    loader = trainer.val_dataloaders
    if loader is None:  # before the first validation, or without any
        loader = trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
    batch = next(iter(loader))
    inputs, targets = (batch[key].to(device) for key in ("inputs", "targets"))
    is_example = (targets != -100).all(dim=0)  # false where a member has fewer than others
    return inputs[:, is_example], targets[:, is_example]


def check_numbers(owner: str, seed: int = 0, **numbers: int | None) -> None:
    """Check that numbers are from 1 to a million, and that torch accepts a seed.

    (Above 2^24 elements torch computes no quantiles; None passes.)

    Raises:
        ValueError: Names the first that is not.
    """
    for name, value in numbers.items():
        if value is not None and not 1 <= value <= 1_000_000:
            raise ValueError(f"{owner}: {name} is {value}; it must be from 1 to 1,000,000")
    if not 0 <= seed < 2**62:
        raise ValueError(f"{owner}: seed is {seed}; it must be at least 0 and below 2^62")


def check_components(components: int | None, width: int) -> None:
    """Check that there are no more principal components than the embedding is wide.

    Raises:
        ValueError: There are, or there is none.
    """
    if components is not None and not 1 <= components <= width:
        raise ValueError(
            f"components is {components} and the embedding has {width} dimensions; use 1 to "
            f"{width}, or null for all"
        )


def check_layers(
    owner: str, option: str, layers: list[str], activations: dict[str, Tensor]
) -> None:
    """Check that the network has these layers.

    Raises:
        ValueError: It lacks one.
    """
    known = layers_of(activations)
    for layer in layers:
        if layer not in known:
            raise ValueError(
                f"{owner}: {option} contains {layer!r}, which the network does not have; choose "
                f"from {', '.join(known)}"
            )


def layers_of(activations: dict[str, Tensor]) -> list[str]:
    """Names of the layers among a network's ``representations``: those of shape (B, T, D)."""
    return [
        name for name, value in activations.items() if value.ndim == 3 and value.is_floating_point()
    ]
