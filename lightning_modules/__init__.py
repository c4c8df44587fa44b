"""LightningModules, networks and loss heads, by their short names."""

from lightning_modules.autoencoder import FeatureAutoencoder
from lightning_modules.classifier import Classifier
from lightning_modules.ensemble import Ensemble
from lightning_modules.heads import (
    CrossEntropyHead,
    FocalHead,
    HarmonicHead,
    LabelSmoothingHead,
    LossHead,
    SmoothHingeHead,
    SoftNearestNeighbourHead,
    SphericalSoftmaxHead,
    SupervisedContrastiveHead,
)
from lightning_modules.language_model import LanguageModel
from lightning_modules.networks import (
    GPT2,
    MLP,
    FeatureNetwork,
    NetworkWithHead,
    PixelMLP,
    Pixels,
    SeededDropout,
    TextTransformer,
    ToyAutoencoder,
    ToyTransformer,
    VariationalWordMask,
)
from lightning_modules.text_classifier import TextClassifier

__all__ = [
    "GPT2",
    "MLP",
    "Classifier",
    "CrossEntropyHead",
    "Ensemble",
    "FeatureAutoencoder",
    "FeatureNetwork",
    "FocalHead",
    "HarmonicHead",
    "LabelSmoothingHead",
    "LanguageModel",
    "LossHead",
    "NetworkWithHead",
    "PixelMLP",
    "Pixels",
    "SeededDropout",
    "SmoothHingeHead",
    "SoftNearestNeighbourHead",
    "SphericalSoftmaxHead",
    "SupervisedContrastiveHead",
    "TextClassifier",
    "TextTransformer",
    "ToyAutoencoder",
    "ToyTransformer",
    "VariationalWordMask",
]
