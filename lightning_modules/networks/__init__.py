"""Networks: plain modules from inputs to features, one architecture a file."""

from lightning_modules.networks.feature_network import FeatureNetwork
from lightning_modules.networks.gpt2 import GPT2
from lightning_modules.networks.mlp import MLP
from lightning_modules.networks.seeded_dropout import SeededDropout
from lightning_modules.networks.text_transformer import TextTransformer
from lightning_modules.networks.toy_autoencoder import ToyAutoencoder
from lightning_modules.networks.toy_transformer import ToyTransformer
from lightning_modules.networks.vectors import Identity, VectorMLP
from lightning_modules.networks.word_mask import VariationalWordMask

__all__ = [
    "GPT2",
    "MLP",
    "FeatureNetwork",
    "Identity",
    "SeededDropout",
    "TextTransformer",
    "ToyAutoencoder",
    "ToyTransformer",
    "VariationalWordMask",
    "VectorMLP",
]
