"""LightningModules, networks and loss heads, by their short names."""

from lightning_modules.autoencoder import FeatureAutoencoder
from lightning_modules.classifier import Classifier
from lightning_modules.ensemble import Ensemble
from lightning_modules.heads import *
from lightning_modules.language_model import LanguageModel
from lightning_modules.networks import *
from lightning_modules.text_classifier import TextClassifier

__all__ = sorted(n for n, v in vars().items() if getattr(v, "__module__", "").startswith(__name__))
