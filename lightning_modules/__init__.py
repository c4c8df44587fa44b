"""LightningModules, networks and loss heads, by their short names."""

from lightning_modules.classifier import Classifier
from lightning_modules.ensemble import Ensemble
from lightning_modules.heads import CrossEntropyHead, HarmonicHead, LossHead
from lightning_modules.language_model import LanguageModel
from lightning_modules.networks import (
    GPT2,
    MLP,
    FeatureNetwork,
    NetworkWithHead,
    SeededDropout,
    TextTransformer,
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
    "FeatureNetwork",
    "HarmonicHead",
    "LanguageModel",
    "LossHead",
    "NetworkWithHead",
    "SeededDropout",
    "TextClassifier",
    "TextTransformer",
    "ToyTransformer",
    "VariationalWordMask",
]
