"""LightningModules, networks and loss heads, by their short names."""

from lightning_modules.classifier import Classifier
from lightning_modules.ensemble import Ensemble
from lightning_modules.heads import CrossEntropyHead, HarmonicHead, LossHead
from lightning_modules.networks import (
    MLP,
    FeatureNetwork,
    NetworkWithHead,
    SeededDropout,
    ToyTransformer,
)

__all__ = [
    "MLP",
    "Classifier",
    "CrossEntropyHead",
    "Ensemble",
    "FeatureNetwork",
    "HarmonicHead",
    "LossHead",
    "NetworkWithHead",
    "SeededDropout",
    "ToyTransformer",
]
