"""Memory of a training step, estimated from the model's sizes before the run starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lightning_modules.heads.fused.chunks import (
    CHUNK_ON_CPU,
    CHUNK_ON_GPU,
    ROWS_ON_CPU,
    ROWS_ON_GPU,
)


@dataclass(frozen=True)
class TrainingSetup:
    """How a training step is computed."""

    micro_batch_size: int  # sequences
    sequence_length: int  # tokens
    mixed_precision: bool  # matrix products in 16 bits, weights in 32
    on_gpu: bool = True
    copies_gradients: bool = False  # DDP without gradient_as_bucket_view, several processes

    @property
    def tokens(self) -> int:
        """Tokens of a micro-batch."""
        return self.micro_batch_size * self.sequence_length

    @property
    def value_bytes(self) -> int:
        """Bytes of a value in matrix products."""
        return 2 if self.mixed_precision else 4


def memory_parts(model: nn.Module, setup: TrainingSetup) -> dict[str, int] | None:
    """Bytes at the peak of a training step, by purpose; None for models other than GPT-2.

    The peak is in the head, when all layers keep their activations. Not included are CUDA's context
    (about half a GiB), fragmentation, and gradients of activations, which are smaller than the
    head's chunks.
    """
    network, head = getattr(model, "network", None), getattr(model, "head", None)
    activations = activation_bytes(network, setup)
    if activations is None or not isinstance(getattr(head, "weight", None), nn.Parameter):
        return None
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    all_weights = sum(p.numel() for p in model.parameters())
    parts = {
        "weights": 4 * all_weights,
        "gradients": 4 * trained,
        "AdamW's moments": 8 * trained,
        "activations": activations,
        "head": head_bytes(head, setup),
    }
    if setup.mixed_precision:
        parts["16-bit copies of weights"] = 2 * _weights_of_products(network)
    if setup.copies_gradients:
        parts["DDP's buckets"] = 4 * trained
    return parts


def activation_bytes(network: Any, setup: TrainingSetup) -> int | None:
    """Bytes that a GPT-2's forward pass keeps for the backward pass; None for other networks.

    A block of width C and H heads keeps for every token, with s bytes per value of a matrix product
    (2 in mixed precision, else 4):

    - the inputs of both norms, 2 · 4 C bytes, and their means and deviations, 16 bytes;
    - the input of ``qkv``, s C; its output, 3 s C; the mixed values, s C; the logarithm of each
      head's normalizer, 4 H bytes (fused attention does not keep its T × T weights);
    - the input of ``fc_in``, s C; the GELU's input and output, 4 s C each.

    That is (14 s + 8) C + 16 + 4 H bytes. Dropout keeps a mask of 1 byte per value at two places of
    a block and at the embeddings. This holds for eager PyTorch; the compiler keeps less.
    """
    blocks, width = getattr(network, "blocks", None), getattr(network, "out_features", None)
    if not isinstance(blocks, nn.ModuleList) or not len(blocks) or not isinstance(width, int):
        return None
    heads = getattr(getattr(blocks[0], "attention", None), "num_heads", None)
    if not isinstance(heads, int):
        return None
    mask = width if getattr(getattr(network, "dropout", None), "p", 0.0) > 0 else 0
    block = (14 * setup.value_bytes + 8) * width + 16 + 4 * heads + 2 * mask
    # The last terms: the final norm, and the token's index.
    per_token = len(blocks) * block + mask + 4 * width + 8 + 8
    return setup.tokens * per_token


def head_bytes(head: Any, setup: TrainingSetup) -> int:
    """Bytes of a loss head at its peak, without the unembedding and its accumulated gradient.

    A fused head holds features and their gradient, the gradient of the unembedding and a product
    that is added to it, one chunk of logits, and a block of rows in full precision; in mixed
    precision also 16-bit copies of features and unembedding. A plain head holds all logits and
    their logarithms.
    """
    rows, width = head.weight.shape
    value = setup.value_bytes
    if not head.uses_fused_loss():
        return int(setup.tokens * rows * (8 + value))
    by_distance = bool(head.is_distance_based)
    product = torch.bfloat16 if setup.mixed_precision else torch.float32
    chunk = CHUNK_ON_GPU if setup.on_gpu else CHUNK_ON_CPU[product]
    block_rows = ROWS_ON_GPU if setup.on_gpu else ROWS_ON_CPU
    copies = 1 if setup.mixed_precision else 0
    of_features = 4 + 4 + 4 * (copies and by_distance) + 2 * copies
    of_weights = 4 + 6 * copies + 2 * copies
    logits = min(chunk, setup.tokens) * rows * value
    scratch = block_rows * rows * 4 * (1 + by_distance)
    return int(setup.tokens * width * of_features + rows * width * of_weights + logits + scratch)


def _weights_of_products(network: Any) -> int:
    """Weights that autocast copies to 16 bits: those of linear layers."""
    linear = (module for module in network.modules() if isinstance(module, nn.Linear))
    return sum(module.weight.numel() for module in linear)
