"""LightningModules, networks and loss heads, by their short names."""

from lightning_modules import heads, networks
from lightning_modules.autoencoder import FeatureAutoencoder
from lightning_modules.classifier import Classifier
from lightning_modules.ensemble.ensemble import Ensemble
from lightning_modules.ensemble.member import NetworkWithHead
from lightning_modules.heads import *
from lightning_modules.language_model import LanguageModel
from lightning_modules.networks import *
from lightning_modules.text_classifier import TextClassifier

__all__ = [
    "Classifier",
    "Ensemble",
    "FeatureAutoencoder",
    "LanguageModel",
    "NetworkWithHead",
    "TextClassifier",
]
__all__ += heads.__all__
__all__ += networks.__all__
