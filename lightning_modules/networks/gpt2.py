"""GPT-2 (Radford et al. 2019), readable top to bottom: token ids in, features for a head out."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.networks.feature_network import FeatureNetwork, check_sizes

# Layers, heads, width. Names are parameters with GPT-2's vocabulary of 50,257, tied.
PRESETS: dict[str, tuple[int, int, int]] = {
    "3M": (2, 2, 64),
    "7M": (3, 4, 128),
    "16M": (4, 4, 256),
    "30M": (6, 6, 384),
    "51M": (8, 8, 512),
    "124M": (12, 12, 768),  # GPT-2 small, the paper's
    "355M": (24, 16, 1024),
    "774M": (36, 20, 1280),
    "1558M": (48, 25, 1600),
}
Preset = Literal["3M", "7M", "16M", "30M", "51M", "124M", "355M", "774M", "1558M"]


class GPT2(FeatureNetwork):
    """GPT-2 without its unembedding: pre-norm blocks of causal attention and a GELU network.

    Args:
        vocab_size: Number of tokens, without padding.
        context_length: Longest input in tokens.
        preset: Layers, heads and width by the number of parameters; '124M' is GPT-2 small.
        num_layers: Number of blocks; null takes the preset's.
        num_heads: Attention heads; null takes the preset's.
        width: Width of the features; null takes the preset's.
        bias: Biases in linear layers and layer norms, as in GPT-2. The harmonic-loss authors' GPT-2
            has none, which is slightly faster.
        dropout: On embeddings, attention and the output of both parts of a block.
        initial_std: Standard deviation of initial embeddings and weights.
        pad_vocab_to: The embedding's rows are padded to a multiple of this, for faster matrix
            products (50,257 becomes 50,304); padding rows get no probability.

    Raises:
        ValueError: A number is out of range, or num_heads does not divide the width.
    """

    def __init__(
        self,
        vocab_size: int,
        context_length: int,
        preset: Preset = "124M",
        num_layers: int | None = None,
        num_heads: int | None = None,
        width: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        initial_std: float = 0.02,
        pad_vocab_to: int = 64,
    ) -> None:
        super().__init__()
        if preset not in PRESETS:
            raise ValueError(f"preset is {preset!r}; choose one of {', '.join(PRESETS)}")
        layers, heads, channels = PRESETS[preset]
        layers = layers if num_layers is None else num_layers
        heads = heads if num_heads is None else num_heads
        channels = channels if width is None else width
        check_sizes(self, vocab_size=vocab_size, context_length=context_length)
        check_sizes(self, pad_vocab_to=pad_vocab_to, num_layers=layers)
        check_sizes(self, num_heads=heads, width=channels)
        if channels % heads:
            raise ValueError(f"GPT2: width ({channels}) must be divisible by num_heads ({heads})")
        if not (0.0 <= dropout < 1.0 and initial_std > 0.0):
            raise ValueError(
                f"GPT2: dropout is {dropout} and initial_std is {initial_std}; dropout must be at "
                f"least 0 and below 1, initial_std positive"
            )
        self.vocab_size = vocab_size
        self.context_length = context_length
        self.out_features = channels
        self.initial_std = initial_std
        padded_vocab = math.ceil(vocab_size / pad_vocab_to) * pad_vocab_to
        self.embedding = nn.Embedding(padded_vocab, channels)
        self.positions = nn.Embedding(context_length, channels)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(channels, heads, bias, dropout) for _ in range(layers))
        self.final_norm = nn.LayerNorm(channels, bias=bias)
        self._initialize()

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=self.initial_std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        # Every block adds to the residual stream twice; this scale keeps the sum's size.
        residual_std = self.initial_std / math.sqrt(2 * len(self.blocks))
        for name, parameter in self.named_parameters():
            if name.endswith((".out.weight", ".fc_out.weight")):
                nn.init.normal_(parameter, std=residual_std)

    def forward(self, tokens: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Features (B, T, C) of token ids (B, T); those at t depend on the tokens up to t.

        Args:
            tokens: Token ids.
            cache: Keys and values of preceding tokens, from ``new_cache``; extended by these.

        Raises:
            ValueError: There are more tokens than ``context_length`` or the cache's capacity.
        """
        start = 0 if cache is None else cache.length
        end = start + tokens.shape[-1]
        if end > self.context_length:
            raise ValueError(
                f"got {end} tokens, but context_length is {self.context_length}; shorten the input"
            )
        x = self.embedding(tokens) + self.positions.weight[start:end]  # (B, T, C)
        x = self.dropout(x)
        for i, block in enumerate(self.blocks):
            x = block(x, None if cache is None else cache.blocks[i])
        return self.final_norm(x)

    def new_cache(self, capacity: int | None = None) -> KeyValueCache:
        """An empty cache for ``forward`` with room for ``capacity`` tokens (None: the context)."""
        return KeyValueCache(
            len(self.blocks), self.context_length if capacity is None else capacity
        )

    def embedding_matrix(self) -> Tensor:
        """The token embeddings without padding, (vocab_size, C)."""
        return self.embedding.weight[: self.vocab_size]

    def set_feature_scale(self, scale: float) -> None:
        """Set the features' initial root mean square, by the final norm's gain (1 in GPT-2)."""
        nn.init.constant_(self.final_norm.weight, scale)

    def flops_per_token(self) -> float:
        """Training FLOPs per token, as in PaLM (Chowdhery et al. 2022, App. B).

        Forward and backward, including an unembedding of the embedding's size: 6 per weight, and 12
        per layer, channel and position for attention. Embedding look-ups cost nothing.
        """
        weights = sum(p.numel() for p in self.parameters()) - self.positions.weight.numel()
        return 6.0 * weights + 12.0 * len(self.blocks) * self.out_features * self.context_length


class Block(nn.Module):
    """x + attention(norm1(x)), then x + fc_out(gelu(fc_in(norm2(x))))."""

    def __init__(self, width: int, num_heads: int, bias: bool, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, bias=bias)
        self.attention = CausalAttention(width, num_heads, bias, dropout)
        self.norm2 = nn.LayerNorm(width, bias=bias)
        self.fc_in = nn.Linear(width, 4 * width, bias=bias)
        self.fc_out = nn.Linear(4 * width, width, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, cache: BlockCache | None = None) -> Tensor:
        x = x + self.attention(self.norm1(x), cache)  # (B, T, C)
        # GPT-2's GELU is the tanh approximation.
        hidden = F.gelu(self.fc_in(self.norm2(x)), approximate="tanh")  # (B, T, 4C)
        return x + self.dropout(self.fc_out(hidden))


class CausalAttention(nn.Module):
    """Multi-head self-attention in which a position attends to itself and earlier ones."""

    def __init__(self, width: int, num_heads: int, bias: bool, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, cache: BlockCache | None = None) -> Tensor:
        batch, length, width = x.shape
        heads = self.qkv(x).view(batch, length, 3, self.num_heads, -1)
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # (B, H, T, C/H) each
        past, mask = 0, None
        if cache is not None and cache.length:
            past = cache.length
            if length > 1:  # token t attends to the past and the new tokens up to itself
                mask = torch.ones(length, past + length, dtype=torch.bool, device=x.device)
                mask = mask.tril(past)
        if cache is not None:
            k, v = cache.extend(k, v)  # (B, H, past + T, C/H)
        dropout = self.dropout.p if self.training else 0.0
        mixed = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=past == 0
        )
        mixed = mixed.transpose(1, 2).reshape(batch, length, width)  # (B, T, C)
        return self.dropout(self.out(mixed))


class BlockCache:
    """Keys and values of one block, in memory that is allocated at the first use."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._memory: tuple[Tensor, Tensor] | None = None  # (B, H, capacity, C/H) each

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values (B, H, T, C/H) of new tokens; returns those of all tokens.

        Raises:
            ValueError: There are more tokens than ``capacity``.
        """
        start, self.length = self.length, self.length + keys.shape[2]
        if self.length > self.capacity:
            raise ValueError(f"the cache has capacity {self.capacity}, got {self.length} tokens")
        if self._memory is None:  # autocast decides the dtype
            shape = (*keys.shape[:2], self.capacity, keys.shape[3])
            self._memory = (keys.new_empty(shape), values.new_empty(shape))
        held = []
        for memory, new in zip(self._memory, (keys, values), strict=True):
            memory[:, :, start : self.length] = new
            held.append(memory[:, :, : self.length])
        return held[0], held[1]


class KeyValueCache:
    """Keys and values of all blocks of a ``GPT2``, so that each new token is computed alone."""

    def __init__(self, num_blocks: int, capacity: int) -> None:
        self.blocks = [BlockCache(capacity) for _ in range(num_blocks)]

    @property
    def length(self) -> int:
        """Number of cached tokens."""
        return self.blocks[0].length

    def clear(self) -> None:
        """Remove all tokens; the memory is reused."""
        for block in self.blocks:
            block.length = 0
