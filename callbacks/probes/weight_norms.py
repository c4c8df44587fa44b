"""WeightNorms: how large the unembedding grows, and whether its rows are class centers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
from torch import Tensor

from callbacks.probes.probe import Probe
from glassbox.metrics import center_alignment, center_distance, weight_norm


class WeightNorms(Probe):
    """Norm of embedding and unembedding, and how the features lie to their class's weight.

    Cross-entropy drives the norm up without bound, harmonic loss lets it settle (harmonic-loss
    paper §3). ``center_alignment`` is the cosine between a class's mean feature and its weight, 1
    when they agree in direction; ``center_distance`` is the distance of features to their own
    weight over that between weights, 0 when weights are class centers.

    Args:
        every_n_epochs: Measure after every so many epochs, and after the last.
    """

    name = "weights"

    def __init__(self, every_n_epochs: int = 100) -> None:
        super().__init__(every_n_epochs)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if not hasattr(pl_module, "hidden_states"):
            raise ValueError(
                f"WeightNorms reads the features of inputs, which a {type(pl_module).__name__} "
                f"does not give; remove the probe from trainer.callbacks, or use a Classifier"
            )

    def measure(self, trainer: L.Trainer, module: L.LightningModule) -> Mapping[str, Tensor]:
        loader: Any = trainer.val_dataloaders
        if loader is None:  # validation is switched off
            loader = trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
        batch = next(iter(loader))
        centers = module.class_centers()  # type: ignore[operator]
        inputs, targets = (batch[key].to(centers.device) for key in ("inputs", "targets"))
        full = (targets != -100).all(dim=0)  # without the columns that fill up shorter members
        inputs, targets = inputs[:, full], targets[:, full]
        features = module.hidden_states(inputs)  # type: ignore[operator]
        found = {}
        if getattr(module, "sizes", {}).get("vocab_size", 1):  # pixels have no embedding
            found["embedding_norm"] = weight_norm(module.embedding_matrix())  # type: ignore[operator]
        return found | {
            "unembedding_norm": weight_norm(centers),
            "center_alignment": center_alignment(features, targets, centers),
            "center_distance": center_distance(features, targets, centers),
        }
