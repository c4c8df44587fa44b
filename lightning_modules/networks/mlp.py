"""The paper's MLP for algorithmic tasks: token embeddings, concatenated, through two layers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.networks.feature_network import FeatureNetwork, check_sizes


class MLP(FeatureNetwork):
    """Embeddings of the input tokens, concatenated; a hidden SiLU layer; a linear feature layer.

    Harmonic-loss paper §4.1, "Standard MLP". The second hidden layer, of ``embedding_dim`` units,
    gives the features. The paper does not state where SiLU is applied; as in the authors' code it
    is after the first layer only, so that features can reach any class center.

    Args:
        vocab_size: Number of tokens.
        num_inputs: Input tokens per example.
        embedding_dim: Width of an embedding and of the features (16 in the paper).
        hidden_dim: Width of the hidden layer (100 in the paper).

    Raises:
        ValueError: A size is below 1.
    """

    def __init__(
        self, vocab_size: int, num_inputs: int, embedding_dim: int = 16, hidden_dim: int = 100
    ) -> None:
        super().__init__()
        check_sizes(self, vocab_size=vocab_size, num_inputs=num_inputs)
        check_sizes(self, embedding_dim=embedding_dim, hidden_dim=hidden_dim)
        self.out_features = embedding_dim
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        # Initialized like a linear unembedding, U(-1/sqrt(E), 1/sqrt(E)), which the authors tie it
        # to.
        nn.init.uniform_(self.embedding.weight, -(embedding_dim**-0.5), embedding_dim**-0.5)
        self.hidden = nn.Linear(num_inputs * embedding_dim, hidden_dim)
        self.features = nn.Linear(hidden_dim, embedding_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Features (..., embedding_dim) of token ids (..., num_inputs)."""
        x = self.embedding(tokens).flatten(start_dim=-2)  # (..., num_inputs * E)
        return self.features(F.silu(self.hidden(x)))  # (..., E)
