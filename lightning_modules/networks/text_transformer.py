"""SAFR's transformer for short texts, which also returns its intermediate activations."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.networks.feature_network import FeatureNetwork, check_sizes
from lightning_modules.networks.word_mask import VariationalWordMask


class TextTransformer(FeatureNetwork):
    """Embedding, word mask, sinusoidal positions, post-norm encoder layers, mean over the words.

    SAFR §4 and Table 5. What the paper leaves open follows the authors' code: the embedding is
    scaled by √width, the word mask is between embedding and positions, layers are post-norm,
    dropout is after the positions and in the layers. Unlike there, padding has no effect: a text
    has the same features alone and in a padded batch. ``pooling: all`` with ``padding_embedding:
    true`` computes as their code does.

    Args:
        vocab_size: Number of tokens; 0 is padding.
        context_length: Longest text in tokens, T.
        width: Width of the embedding and the layers, E (256 in the paper).
        num_layers: Encoder layers (1 in the paper).
        num_heads: Attention heads (8 in the authors' code).
        feedforward_dim: Width of FFN1 (1,024 in the paper).
        dropout: Dropout after the positions and in the layers.
        vmask: Add a variational word mask between embedding and positions.
        mask_dim: Width of the mask's hidden layer.
        temperature: Temperature of the mask's Gumbel-softmax.
        final_temperature: Temperature at the end of training; null keeps it constant.
        pooling: 'real' takes the mean over a text's tokens, 'all' includes padding.
        padding_embedding: Give padding a trained embedding instead of zeros.

    Raises:
        ValueError: A size is below 1, or the width is odd or not divisible by num_heads.
    """

    positions: Tensor  # (T, E)

    def __init__(
        self,
        vocab_size: int,
        context_length: int,
        width: int = 256,
        num_layers: int = 1,
        num_heads: int = 8,
        feedforward_dim: int = 1024,
        dropout: float = 0.1,
        vmask: bool = True,
        mask_dim: int = 1024,
        temperature: float = 1.0,
        final_temperature: float | None = None,
        pooling: Literal["real", "all"] = "real",
        padding_embedding: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(self, vocab_size=vocab_size, context_length=context_length, width=width)
        check_sizes(self, num_layers=num_layers, num_heads=num_heads)
        check_sizes(self, feedforward_dim=feedforward_dim)
        if width % num_heads or width % 2:
            raise ValueError(
                f"TextTransformer: width ({width}) must be even and divisible by num_heads "
                f"({num_heads})"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}; it must be at least 0 and below 1")
        if pooling not in ("real", "all"):
            raise ValueError(f"pooling is {pooling!r}; choose one of real, all")
        self.out_features = width
        self.context_length = context_length
        self.pooling = pooling
        self.embedding = nn.Embedding(
            vocab_size, width, padding_idx=None if padding_embedding else 0
        )
        self.vmask = (
            VariationalWordMask(width, mask_dim, temperature, final_temperature) if vmask else None
        )
        self.register_buffer("positions", sinusoids(context_length, width), persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            TextLayer(width, num_heads, feedforward_dim, dropout) for _ in range(num_layers)
        )

    @property
    def initial_scale(self) -> float:
        """Initial root mean square of the features, for texts of about 20 words."""
        return 0.3

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features (B, E) of token ids (B, T); ``mask`` (B, T) is true on real tokens.

        With ``pooling: all`` texts are padded to ``context_length``, so that the mean does not
        depend on the other texts of the batch. Otherwise texts of more than 64 tokens are padded to
        a multiple of 32, since torch caches kernels for every shape.
        """
        mask = tokens != 0 if mask is None else mask
        length = tokens.shape[1]
        if self.pooling == "all":
            length = self.context_length
        elif length > 64:
            length = max(length, min(-(-length // 32) * 32, self.context_length))
        missing = (0, length - tokens.shape[1])
        tokens, mask = F.pad(tokens, missing), F.pad(mask, missing)
        return self.forward_with_activations(tokens, mask, attention_weights=self.training)[
            "features"
        ]

    def forward_with_activations(
        self, tokens: Tensor, mask: Tensor | None = None, attention_weights: bool = True
    ) -> dict[str, Tensor]:
        """Every intermediate activation between tokens and features, by name.

        Args:
            tokens: (B, T).
            mask: (B, T), true on real tokens; None: tokens other than 0.
            attention_weights: Also return the weights. Without them, in evaluation, torch's fused
                attention halves the time.

        Returns:
            ``embedding``, ``vmask`` (the embedding itself without a mask), ``attention``,
            ``norm1``, ``ffn1_before_relu``, ``ffn1``, ``ffn2``, ``norm2``, (B, T, ...) each, and
            ``attention_weights`` (B, heads, T, T), all of the last layer; with several layers also
            ``layer1/ffn1`` and so on; ``vmask_probability`` (B, T) with a mask; and ``features``
            (B, E).

        Raises:
            ValueError: The texts are longer than ``context_length``.
        """
        length = tokens.shape[1]
        if length > self.context_length:
            raise ValueError(
                f"a text has {length} tokens, but context_length is {self.context_length}; "
                f"shorten it or set context_length to {length}"
            )
        mask = tokens != 0 if mask is None else mask
        # The embedding is N(0, 1); scaled as in the authors' code.
        x = self.embedding(tokens) * math.sqrt(self.out_features)  # (B, T, E)
        activations = {"embedding": x}
        if self.vmask is not None:
            x, activations["vmask_probability"] = self.vmask(x)
        activations["vmask"] = x
        x = self.dropout(x + self.positions[:length])
        for number, layer in enumerate(self.layers, start=1):
            steps = layer(x, mask, attention_weights)
            x = steps["norm2"]
            activations.update(steps)
            if len(self.layers) > 1:
                activations.update(
                    {f"layer{number}/{name}": value for name, value in steps.items()}
                )
        activations["features"] = self._pooled(x, mask)
        return activations

    def _pooled(self, x: Tensor, mask: Tensor) -> Tensor:
        if self.pooling == "all":
            return x.mean(dim=1)
        kept = x.masked_fill(~mask.unsqueeze(-1), 0.0)  # (B, T, E)
        return kept.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp_min(1)


class TextLayer(nn.Module):
    """Post-norm encoder layer with ReLU that returns its attention weights and every activation.

    The same function as torch's ``nn.TransformerEncoderLayer``, which returns the output only.
    """

    def __init__(self, width: int, num_heads: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__()
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
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, attention_weights: bool = True) -> dict[str, Tensor]:
        """The layer's activations by name, from (B, T, E) and the mask (B, T) of real tokens."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # (B, T, 3, H, E/H)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, T, E/H) each
        # A text without any real token attends to all positions equally, which avoids NaN.
        visible = (mask | ~mask.any(dim=1, keepdim=True))[:, None, None, :]  # (B, 1, 1, T)
        activations: dict[str, Tensor] = {}
        if attention_weights or self.training:
            scores = (q @ k.mT).float() / math.sqrt(q.shape[-1])  # (B, H, T, T)
            # In place, and dropout in v's precision, to save memory of the weights' size.
            weights = scores.masked_fill_(~visible, torch.finfo(scores.dtype).min).softmax(dim=-1)
            activations["attention_weights"] = weights
            mixed = self.dropout(weights.to(v.dtype)) @ v  # (B, H, T, E/H)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        attention = self.out(mixed.transpose(1, 2).flatten(-2))  # (B, T, E)
        norm1 = self.norm1(x + self.dropout(attention))
        before_relu = self.fc_in(norm1)  # (B, T, F)
        ffn1 = F.relu(before_relu)
        ffn2 = self.fc_out(self.dropout(ffn1))  # (B, T, E)
        return activations | {
            "attention": attention,
            "norm1": norm1,
            "ffn1_before_relu": before_relu,
            "ffn1": ffn1,
            "ffn2": ffn2,
            "norm2": self.norm2(norm1 + self.dropout(ffn2)),
        }


def sinusoids(length: int, width: int) -> Tensor:
    """Sinusoidal positions (length, width): sines in even places, cosines in odd ones.

    Vaswani et al. 2017, §3.5.
    """
    position = torch.arange(length).unsqueeze(1)
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angles = position * rates  # (length, width / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
