"""The paper's two-layer transformer for algorithmic tasks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.networks.feature_network import FeatureNetwork
from lightning_modules.networks.seeded_dropout import SeededDropout


class ToyTransformer(FeatureNetwork):
    """Token plus position embeddings, two encoder layers, the last position's output as features.

    Harmonic-loss paper §4.1, "Standard Transformer". The paper says "decoder layers"; the authors'
    code has encoder layers (post-norm, ReLU, no attention mask), each with a residual connection
    around it besides the two inside. That is what is built here.

    Args:
        vocab_size: Number of tokens.
        num_inputs: Input tokens per example, T.
        embedding_dim: Width (16 in the paper).
        num_layers: Encoder layers (2 in the paper).
        num_heads: Attention heads (2 in the paper).
        feedforward_dim: Width of the feed-forward layer (64 in the paper).
        dropout: Dropout inside the encoder layers, in training (0.1 in the authors' code; the
            paper does not mention it).
        dropout_in_evaluation: Drop in evaluation too. The authors' code does so, by an accident
            that lowers all its test accuracies; false is what one wants otherwise.
        causal: Let a position attend to itself and earlier ones only, as "decoder" would mean.

    Raises:
        ValueError: A size is below 1, or the heads do not divide the width.
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
        causal: bool = False,
    ) -> None:
        super().__init__()
        if min(vocab_size, num_inputs, embedding_dim, num_layers, num_heads, feedforward_dim) < 1:
            raise ValueError("every size of a ToyTransformer must be at least 1")
        self.out_features = embedding_dim
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        nn.init.normal_(self.embedding.weight, std=embedding_dim**-0.5)
        self.position = nn.Parameter(torch.randn(num_inputs, embedding_dim))
        self.layers = nn.ModuleList(
            EncoderLayer(
                embedding_dim, num_heads, feedforward_dim, dropout, dropout_in_evaluation, causal
            )
            for _ in range(num_layers)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Features (..., embedding_dim) at the last position of token ids (..., num_inputs)."""
        x = self.embedding(tokens) + self.position  # (..., T, E)
        for layer in self.layers[:-1]:
            x = x + layer(x)
        # Only the last position is read, so the last layer computes no other.
        return (x[..., -1:, :] + self.layers[-1](x, last_only=True)).squeeze(-2)  # (..., E)


class EncoderLayer(nn.Module):
    """Post-norm encoder layer; the same function and initialization as torch's own.

    Written out because ``nn.TransformerEncoderLayer`` draws its dropout from the global generator,
    and because two or three positions are served faster by sums of products than by the general
    attention kernel: the shapes here are (batch, 2 heads, 2 positions, 8).
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        dropout_in_evaluation: bool,
        causal: bool,
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"num_heads is {num_heads}; it must divide the width {width}")
        self.num_heads = num_heads
        self.causal = causal
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
        positions, width = x.shape[-2:]
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, width // self.num_heads))
        q, k, v = (part.transpose(-2, -3) for part in qkv.unbind(dim=-3))  # (..., H, T, E/H)
        if last_only:
            q = q[..., -1:, :]
        scores = (q.unsqueeze(-2) * k.unsqueeze(-3)).sum(-1)  # (..., H, Q, T)
        scores = scores / math.sqrt(q.shape[-1])
        if self.causal and not last_only:
            ahead = torch.ones(positions, positions, device=x.device).triu(1).bool()
            scores = scores.masked_fill(ahead, -torch.inf)
        weights = self.drop_attention(scores.softmax(dim=-1))
        mixed = (weights.unsqueeze(-1) * v.unsqueeze(-3)).sum(-2)  # (..., H, Q, E/H)
        return self.out(mixed.transpose(-2, -3).flatten(-2))  # (..., Q, E)
