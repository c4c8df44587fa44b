"""Memory of a training step, estimated from a model's sizes before it is started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

# Tokens whose logits a fused head holds at a time, and rows of them that pass through its
# pointwise work, on a GPU (``_CHUNK_ON_GPU`` in lightning_modules/heads/chunks.py; a test compares
# them). On a CPU both are small.
CHUNK_ON_GPU, ROWS_ON_GPU = 4096, 1024


@dataclass(frozen=True)
class Setting:
    """How a step is computed.

    Attributes:
        windows: Of a micro-batch.
        length: Tokens of a window.
        half: Whether matrix products are in 16 bits, weights in 32 (the mixed precisions).
        on_gpu: Whether on a GPU.
        copies_gradients: Whether DistributedDataParallel keeps buckets beside the gradients: with
            several processes, unless ``gradient_as_bucket_view`` makes them one.
    """

    windows: int
    length: int
    half: bool
    on_gpu: bool = True
    copies_gradients: bool = False

    @property
    def tokens(self) -> int:
        """Of a micro-batch."""
        return self.windows * self.length


def memory_parts(model: nn.Module, setting: Setting) -> dict[str, int] | None:
    """Bytes at the peak of a training step, by what they are for.

    The peak is where the head has its chunks and all layers keep their activations. What a process
    has besides is left out: CUDA's context (about half a GiB), fragments of the allocator, and, in
    the backward pass, gradients of activations, which are fewer than the head's chunks.

    Args:
        model: With ``network`` (see :func:`activation_bytes`) and ``head``, a loss head.
        setting: How a step is computed.

    Returns:
        Bytes by part; None for a model that is built otherwise.
    """
    network, head = getattr(model, "network", None), getattr(model, "head", None)
    activations = activation_bytes(network, setting)
    if activations is None or not isinstance(getattr(head, "weight", None), nn.Parameter):
        return None
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    all_weights = sum(p.numel() for p in model.parameters())
    parts = {
        "weights": 4 * all_weights,
        "gradients": 4 * trained,
        "AdamW's moments": 8 * trained,
        "activations": activations,
        "head": head_bytes(head, setting),
    }
    if setting.half:
        parts["16-bit copies of weights"] = 2 * _weights_of_products(network)
    if setting.copies_gradients:
        parts["DDP's buckets"] = 4 * trained
    return parts


def activation_bytes(network: Any, setting: Setting) -> int | None:
    """Bytes that a GPT-2's forward pass keeps for the backward pass, the head not included.

    A block of width C and H heads keeps, of every token and in units of C values, with s bytes a
    value (2 in the mixed precisions, whose norms and residual stream stay in 4 bytes; else 4):

    - the input of both norms, 2 · 4 bytes, and their means and deviations, 16 bytes in all;
    - the input of the product for queries, keys and values, s; these three, 3 s; the mixed values,
      s, which the next product reads too; the logarithm of each head's normalizer, 4 H bytes
      (attention that never forms its T × T weights keeps no more);
    - the input of the expanding product, s; the GELU's input and output, 4 s each.

    So 14 s + 8 bytes per value of width in the mixed precisions. With 4 bytes throughout, the
    products' inputs are the norms' outputs, and the sum is the same: 64. Dropout keeps a mask of 1
    byte per value at two places of a block and at the embeddings. This is for eager PyTorch; the
    compiler recomputes cheap ones and keeps less.

    Args:
        network: With ``blocks`` whose ``attention`` has ``num_heads``, and ``out_features``.
        setting: How a step is computed.

    Returns:
        Bytes of a micro-batch; None for a network that is built otherwise.
    """
    blocks, width = getattr(network, "blocks", None), getattr(network, "out_features", None)
    if not isinstance(blocks, nn.ModuleList) or not len(blocks) or not isinstance(width, int):
        return None
    heads = getattr(getattr(blocks[0], "attention", None), "num_heads", None)
    if not isinstance(heads, int):
        return None
    value = 2 if setting.half else 4
    mask = width if getattr(getattr(network, "dropout", None), "p", 0.0) > 0 else 0
    block = (14 * value + 8) * width + 16 + 4 * heads + 2 * mask
    # Last the final norm, and the token's index.
    per_token = len(blocks) * block + mask + 4 * width + 8 + 8
    return setting.tokens * per_token


def head_bytes(head: Any, setting: Setting) -> int:
    """Bytes of a loss head at its peak, the unembedding and its gradient of the step not included.

    A fused head holds features and their gradient, the gradient of the unembedding and the product
    that is added to it, one chunk of logits, and the rows that are worked on in full precision; in
    the mixed precisions copies of features and unembedding in 16 bits besides. A plain one holds
    all logits and their logarithms.

    Args:
        head: A loss head.
        setting: How a step is computed.
    """
    rows, width = head.weight.shape
    value = 2 if setting.half else 4
    if not head.uses_fused_loss():
        return int(setting.tokens * rows * (8 + value))
    by_distance = bool(head.is_distance_based)
    chunk = CHUNK_ON_GPU if setting.on_gpu else 1024 if setting.half else 256
    worked_on = ROWS_ON_GPU if setting.on_gpu else 8
    copies = 1 if setting.half else 0
    of_features = 4 + 4 + 4 * (copies and by_distance) + 2 * copies
    of_weights = 4 + 6 * copies + 2 * copies
    logits = min(chunk, setting.tokens) * rows * value
    scratch = worked_on * rows * 4 * (1 + by_distance)
    return int(setting.tokens * width * of_features + rows * width * of_weights + logits + scratch)


def _weights_of_products(network: Any) -> int:
    """Weights that autocast copies to 16 bits and keeps: those of linear layers."""
    linear = (module for module in network.modules() if isinstance(module, nn.Linear))
    return sum(module.weight.numel() for module in linear)
