"""WordCapacity: how much of a layer the important words have, and how much the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
from torch import Tensor

from callbacks.probes.representations import capacity_at, check_layers, dummy_activations
from callbacks.probes.text_metrics import MeanCapacity
from callbacks.probes.text_probe import Batch, TextProbe
from callbacks.probes.word_scores import PROBABILITY
from glassbox.metrics import check_percent, important_words

GROUPS = ("all", "important", "other")


class WordCapacity(TextProbe):
    """Mean capacity of all words, of the important ones and of the others (SAFR paper, Table 3).

    Important are the ``percent`` % words of each text (at least one) that VMASK lets through with
    the highest probability. Every word counts the same, however long its text. Keys are
    ``<layer>_all``, ``<layer>_important``, ``<layer>_other`` and ``<layer>_contrast``, the ratio of
    the last two; without a word mask there is only the first. It is undecided which side of FFN1's
    ReLU the paper measures, hence both.

    Args:
        layers: Layers of the network whose ``representations`` are measured; null takes FFN1 after
            and before its ReLU. The first one is in the closing table.
        percent: Share of the words that counts as important, in percent.
        every_n_epochs: Measure on the validation set after every so many epochs.

    Raises:
        ValueError: ``percent`` is outside [0, 100), or no layer is named.
    """

    name = "capacity"

    def __init__(
        self, layers: list[str] | None = None, percent: float = 30.0, every_n_epochs: int = 1
    ) -> None:
        super().__init__(every_n_epochs=every_n_epochs)
        check_percent(percent, "WordCapacity: percent")
        if layers is not None and not layers:
            raise ValueError("WordCapacity: layers is empty; name one, such as ffn1")
        self.layers = ["ffn1", "ffn1_before_relu"] if layers is None else list(layers)
        self.percent = percent
        self._means: dict[str, MeanCapacity] = {}
        self._has_mask = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        activations = dummy_activations(trainer, pl_module, "WordCapacity")
        check_layers("WordCapacity", "layers", self.layers, activations)
        self._has_mask = PROBABILITY in activations

    def begin(self, trainer: L.Trainer, module: Any) -> None:
        # Sums are in float64, which Apple's GPUs lack.
        device = "cpu" if module.device.type == "mps" else module.device
        self._means = {layer: MeanCapacity().to(device) for layer in self.layers}

    def update(self, trainer: L.Trainer, module: Any, batch: Batch, found: Batch) -> None:
        mask = batch["mask"]
        # Without a word mask no word counts as important; only the mean over all is kept.
        important = ~mask
        if self._has_mask:
            important = important_words(found[PROBABILITY], mask, self.percent)
        for layer, mean in self._means.items():
            mean.update(capacity_at(layer, found, mask), important, mask, batch["labels"])

    def finish(self, trainer: L.Trainer, module: Any) -> Mapping[str, Tensor | list[str]]:
        groups = GROUPS if self._has_mask else GROUPS[:1]
        values = {}
        for layer, mean in self._means.items():
            found = mean.compute()
            values.update({f"{layer}_{group}": found[group].reshape(1) for group in groups})
            if self._has_mask:
                values[f"{layer}_contrast"] = (found["important"] / found["other"]).reshape(1)
        self.summary_metrics = [
            f"{self.stage}/{self.name}/{self.layers[0]}_{group}" for group in groups
        ]
        return values
