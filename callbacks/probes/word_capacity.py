"""WordCapacity: the capacity of important words and of other words at a layer."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor
from torchmetrics import Metric

from callbacks.probes.checks import check_layers
from callbacks.probes.probe import Results
from callbacks.probes.representations import capacity_at, example_activations
from callbacks.probes.text_probe import IGNORED, Batch, TextProbe
from callbacks.probes.word_scores import PROBABILITY
from glassbox.metrics import check_percent, important_words
from glassbox.protocols import HasRepresentations

GROUPS = ("all", "important", "other")


class WordCapacity(TextProbe):
    """Mean capacity of all words, of important words and of other words (SAFR paper, Table 3).

    Important are the ``percent`` % of the words of a text (at least one) with the highest VMASK
    probability. Every word has the same weight, however long its text. Keys are ``<layer>_all``,
    ``<layer>_important``, ``<layer>_other`` and ``<layer>_contrast``, the ratio of the last two;
    without a word mask only the first. The paper does not state whether FFN1 is measured before or
    after its ReLU, so both are.

    Args:
        layers: Layers of the network's ``representations``; null takes FFN1 after and before its
            ReLU. The first one is in the closing table.
        percent: Percentage of the words that counts as important.
        every_n_epochs: Measure on the validation set every n epochs.

    Raises:
        ValueError: ``percent`` is outside [0, 100), or ``layers`` is empty.
    """

    name = "capacity"

    def __init__(
        self, layers: list[str] | None = None, percent: float = 30.0, every_n_epochs: int = 1
    ) -> None:
        super().__init__(every_n_epochs=every_n_epochs)
        check_percent(percent, "WordCapacity: percent")
        if layers is not None and not layers:
            raise ValueError("WordCapacity: layers is empty; give one, such as ffn1")
        self.layers = ["ffn1", "ffn1_before_relu"] if layers is None else list(layers)
        self.percent = percent
        self._means: dict[str, MeanCapacity] = {}
        self._has_mask = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        activations = example_activations(trainer, pl_module, self)
        check_layers("WordCapacity", "layers", self.layers, activations)
        self._has_mask = PROBABILITY in activations

    def reset(self, trainer: L.Trainer, module: HasRepresentations) -> None:
        # Sums are in float64, which Apple's GPUs lack.
        device = "cpu" if module.device.type == "mps" else module.device
        self._means = {layer: MeanCapacity().to(device) for layer in self.layers}

    def update(
        self, trainer: L.Trainer, module: HasRepresentations, batch: Batch, activations: Batch
    ) -> None:
        mask = batch["mask"]
        if self._has_mask:
            important = important_words(activations[PROBABILITY], mask, self.percent)
        else:  # of no effect: only the mean over all is reported
            important = ~mask
        for layer, mean in self._means.items():
            mean.update(capacity_at(layer, activations, mask), important, mask, batch["labels"])

    def compute(self, trainer: L.Trainer, module: HasRepresentations) -> Results:
        groups = GROUPS if self._has_mask else GROUPS[:1]
        values = {}
        for layer, metric in self._means.items():
            means = metric.compute()
            values.update({f"{layer}_{group}": means[group].reshape(1) for group in groups})
            if self._has_mask:
                values[f"{layer}_contrast"] = (means["important"] / means["other"]).reshape(1)
        self.summary_metrics = [
            f"{self.stage}/{self.name}/{self.layers[0]}_{group}" for group in groups
        ]
        return values


class MeanCapacity(Metric):
    """Mean capacity of all, of important and of other tokens (SAFR paper, Table 3).

    Micro-averages: every token has the same weight, however long its text is. Sums are in float64,
    which Apple's GPUs lack; on these, keep the metric on the CPU. Inputs may be on any device.
    """

    full_state_update = False
    is_differentiable = False
    total: Tensor
    counted: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Important tokens, other tokens.
        self.add_state("total", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counted", torch.zeros(2, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, capacity: Tensor, important: Tensor, mask: Tensor, labels: Tensor) -> None:
        """Add texts.

        Args:
            capacity: (B, T), of one layer; values at padding are ignored.
            important: (B, T) bool.
            mask: (B, T) bool, true on real tokens.
            labels: (B,) int64; rows with label -100 do not count.
        """
        mask = mask & (labels != IGNORED)[:, None]
        groups = torch.stack([mask & important, mask & ~important]).to(self.total.device)
        values = capacity.detach().to(self.total.device).double()
        # where, not a product: a nan must stay in its own group (0 · nan is nan).
        # Not in place: a module that holds the metric may have cast the sum to bfloat16.
        self.total = self.total + torch.where(groups, values, 0.0).sum(dim=(1, 2))
        self.counted += groups.sum(dim=(1, 2))

    def compute(self) -> dict[str, Tensor]:
        """The means ``all``, ``important`` and ``other``, float64; nan for no token."""
        important, other = (self.total / self.counted).unbind()
        return {
            "all": self.total.sum() / self.counted.sum(),
            "important": important,
            "other": other,
        }
