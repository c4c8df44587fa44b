"""The paper's two-layer transformer for algorithmic tasks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.networks.feature_network import FeatureNetwork, check_sizes
from lightning_modules.networks.seeded_dropout import SeededDropout


class ToyTransformer(FeatureNetwork):
    """Token plus position embeddings, two encoder layers, the last position's output as features.

    Harmonic-loss paper §4.1, "Standard Transformer". The paper says "decoder layers"; as in the
    authors' code these are encoder layers (post-norm, ReLU, no attention mask), each with a
    residual connection around it besides the two inside.

    Args:
        vocab_size: Number of tokens.
        num_inputs: Input tokens per example, T.
        embedding_dim: Width (16 in the paper).
        num_layers: Encoder layers (2 in the paper).
        num_heads: Attention heads (2 in the paper).
        feedforward_dim: Width of the feed-forward layer (64 in the paper).
        dropout: Dropout inside the encoder layers (0.1 in the authors' code; the paper does not
            mention it).
        dropout_in_evaluation: Also drop in evaluation, as the authors' code does by accident, which
            lowers its test accuracies. Only for reproducing their numbers.

    Raises:
        ValueError: A size is below 1, or num_heads does not divide the width.
    """

    def __init__(
        self,
        vocab_size: int,
        num_inputs: int,
        embedding_dim: int = 16,
        num_layers: int = 2,
        num_heads: int = 2,
        feedforward_dim: int = 64,
        dropout: float = 0.1,
        dropout_in_evaluation: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(self, vocab_size=vocab_size, num_inputs=num_inputs, num_layers=num_layers)
        check_sizes(self, embedding_dim=embedding_dim, feedforward_dim=feedforward_dim)
        check_sizes(self, num_heads=num_heads)
        self.out_features = embedding_dim
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        nn.init.normal_(self.embedding.weight, std=embedding_dim**-0.5)
        self.position = nn.Parameter(torch.randn(num_inputs, embedding_dim))
        self.layers = nn.ModuleList(
            EncoderLayer(embedding_dim, num_heads, feedforward_dim, dropout, dropout_in_evaluation)
            for _ in range(num_layers)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Features (..., embedding_dim) at the last position of token ids (..., num_inputs)."""
        x = self.embedding(tokens) + self.position  # (..., T, E)
        for layer in self.layers[:-1]:
            x = x + layer(x)
        # The head reads the last position only.
        return (x[..., -1:, :] + self.layers[-1](x, last_only=True)).squeeze(-2)  # (..., E)


class EncoderLayer(nn.Module):
    """Post-norm encoder layer; the same function and initialization as torch's own.

    ``nn.TransformerEncoderLayer`` takes its dropout from the global generator. And for shapes like
    (batch, 2 heads, 2 positions, 8), sums of products are faster than the attention kernel.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        dropout_in_evaluation: bool,
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"num_heads is {num_heads}; it must divide embedding_dim ({width})")
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.bias)
        self.norm1 = nn.LayerNorm(width)
        self.fc_in = nn.Linear(width, feedforward_dim)
        self.fc_out = nn.Linear(feedforward_dim, width)
        self.norm2 = nn.LayerNorm(width)
        self.drop_attention, self.drop_out, self.drop_hidden, self.drop_feedforward = (
            SeededDropout(dropout, dropout_in_evaluation) for _ in range(4)
        )

    def forward(self, x: Tensor, last_only: bool = False) -> Tensor:
        """(..., T, E) -> (..., T, E), or (..., 1, E) for the last position alone."""
        attended = self._attention(x, last_only)
        x = self.norm1((x[..., -1:, :] if last_only else x) + self.drop_out(attended))
        hidden = self.drop_hidden(F.relu(self.fc_in(x)))
        return self.norm2(x + self.drop_feedforward(self.fc_out(hidden)))

    def _attention(self, x: Tensor, last_only: bool) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, x.shape[-1] // self.num_heads))
        q, k, v = (part.transpose(-2, -3) for part in qkv.unbind(dim=-3))  # (..., H, T, E/H)
        if last_only:
            q = q[..., -1:, :]
        scores = (q.unsqueeze(-2) * k.unsqueeze(-3)).sum(-1)  # (..., H, Q, T)
        scores = scores / math.sqrt(q.shape[-1])
        weights = self.drop_attention(scores.softmax(dim=-1))
        mixed = (weights.unsqueeze(-1) * v.unsqueeze(-3)).sum(-2)  # (..., H, Q, E/H)
        return self.out(mixed.transpose(-2, -3).flatten(-2))  # (..., Q, E)
