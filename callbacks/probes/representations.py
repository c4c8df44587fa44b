"""The activations of a text classifier, by name."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor

from callbacks.probes.checks import datamodule_of, incompatible
from glassbox.metrics import capacity
from glassbox.protocols import EncodesTexts, HasRepresentations


def texts_of(trainer: L.Trainer, owner: object) -> EncodesTexts:
    """The run's data module of labeled texts.

    Raises:
        ValueError: It is none.
    """
    data = datamodule_of(trainer)
    if not isinstance(data, EncodesTexts):
        raise incompatible(owner, "a data module of labeled texts", data, "SST2")
    return data


def example_activations(
    trainer: L.Trainer, module: L.LightningModule, owner: object
) -> dict[str, Tensor]:
    """The ``representations`` of a text of one unknown word.

    With their names a wrong option is detected before training. The modes of the module's parts
    and the random numbers stay as they were.

    Args:
        trainer: The run's.
        module: The text classifier.
        owner: The probe, for the message.

    Raises:
        ValueError: The data module is not one of labeled texts.
    """
    assert isinstance(module, HasRepresentations)
    word = torch.full((1, 1), texts_of(trainer, owner).unknown_token, device=module.device)
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
            return module.representations(batch)
    finally:
        for part, training in modes.items():
            part.training = training


def capacity_at(layer: str, activations: dict[str, Tensor], mask: Tensor) -> Tensor:
    """Capacity of every token at a layer, (B, T), cached in ``activations`` for the next probe."""
    key = f"capacity of {layer}"
    if key not in activations:
        activations[key] = capacity(activations[layer], mask)
    return activations[key]
