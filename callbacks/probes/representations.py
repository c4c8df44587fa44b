"""What a text network hands out under which name, asked of the network itself."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from glassbox.metrics import capacity


def layers_of(activations: dict[str, Tensor]) -> list[str]:
    """Names of the layers among a network's ``representations``: those of shape (B, T, D)."""
    return [
        name for name, value in activations.items() if value.ndim == 3 and value.is_floating_point()
    ]


def dummy_activations(trainer: L.Trainer, module: Any, owner: str) -> dict[str, Tensor]:
    """The ``representations`` of a text of one unknown word, before a run begins.

    So a name that is not there is refused now, not after an hour of training. The module's modes
    and the random numbers are as they were.

    Args:
        trainer: Whose data module knows the unknown word.
        module: The text classifier.
        owner: Name of the probe, for the message.

    Raises:
        ValueError: The data module is not one of texts.
    """
    data: Any = getattr(trainer, "datamodule", None)
    if not (hasattr(data, "unknown_token") and hasattr(data, "encode")):
        raise ValueError(
            f"{owner} needs a data module of texts, such as SST2; remove the probe from "
            f"trainer.callbacks, or use one"
        )
    word = torch.full((1, 1), data.unknown_token, device=module.device)
    batch = {
        "tokens": word,
        "mask": torch.ones_like(word, dtype=torch.bool),
        "words": torch.zeros_like(word),
        "labels": torch.full_like(word[0], -100),
        "global_size": torch.tensor([0, 1], device=module.device),
    }
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            found: dict[str, Tensor] = module.representations(batch)
    finally:
        for part, training in modes.items():
            part.training = training
    return found


def capacity_at(layer: str, found: dict[str, Tensor], mask: Tensor) -> Tensor:
    """Capacity of every token at a layer, (B, T), kept in ``found`` for the next probe."""
    key = f"capacity of {layer}"
    if key not in found:
        found[key] = capacity(found[layer], mask)
    return found[key]


def check_layers(
    owner: str, option: str, layers: list[str], activations: dict[str, Tensor]
) -> None:
    """Refuse layers that the network does not have.

    Raises:
        ValueError: Names the first of them, and those that are there.
    """
    known = layers_of(activations)
    for layer in layers:
        if layer not in known:
            raise ValueError(
                f"{owner}: {option} names {layer!r}, which the network does not have; choose from "
                f"{', '.join(known)}"
            )
