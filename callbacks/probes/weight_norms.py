"""WeightNorms: how large the unembedding grows, and whether its rows are class centers."""

from __future__ import annotations

import lightning as L
from torch import Tensor

from callbacks.probes.checks import incompatible, validation_examples
from callbacks.probes.probe import Probe
from glassbox.metrics import center_alignment, center_distance, weight_norm
from glassbox.protocols import HasClassCenters, HasEmbedding


class WeightNorms(Probe[HasClassCenters]):
    """Norms of embedding and unembedding, and the distance of features to their class's weight.

    Cross-entropy increases the norm without bound, under harmonic loss it converges (harmonic-loss
    paper §3). ``center_alignment`` is the cosine between a class's mean feature and its weight, 1
    if they have one direction. ``center_distance`` is the distance of features to their class's
    weight over that between weights, 0 if weights are class centers.

    Args:
        every_n_epochs: Measure every n epochs, and after the last.
    """

    name = "weights"

    def __init__(self, every_n_epochs: int = 100) -> None:
        super().__init__(every_n_epochs)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if not isinstance(pl_module, HasClassCenters):
            raise incompatible(self, "a module with hidden states", pl_module, "a Classifier")

    def measure(self, trainer: L.Trainer, module: HasClassCenters) -> dict[str, Tensor]:
        centers = module.class_centers()
        inputs, targets = validation_examples(trainer, centers.device)
        features = module.hidden_states(inputs)
        values = {}
        reads_tokens = getattr(module, "sizes", {}).get("vocab_size", 1) > 0
        if reads_tokens and isinstance(module, HasEmbedding):
            values["embedding_norm"] = weight_norm(module.embedding_matrix())
        return values | {
            "unembedding_norm": weight_norm(centers),
            "center_alignment": center_alignment(features, targets, centers),
            "center_distance": center_distance(features, targets, centers),
        }
