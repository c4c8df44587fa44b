"""How transformers' GPT-2 names its tensors, and which of ours is which."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn

from lightning_modules.heads import LossHead
from lightning_modules.networks import GPT2

# ``model_type`` in config.json: transformers' GPT-2, and ours of ``harmonic_gpt2.py``.
GPT2_TYPE = "gpt2"
HARMONIC_TYPE = "glassbox-harmonic-gpt2"
GPT2_VOCABULARY = 50257
WEIGHTS = "model.safetensors"


class Place(NamedTuple):
    """Where one of our tensors lies in Hugging Face's format."""

    name: str  # without the leading "transformer."
    tensor: Tensor | None  # ours; None for a bias that the network has not
    transposed: bool  # transformers multiplies by (in, out), torch's linear layers by (out, in)


def places(network: GPT2, head: LossHead) -> Iterator[Place]:
    """Every tensor of network and head, padding of the vocabulary cut off."""
    yield Place("wte.weight", network.embedding.weight[: network.vocab_size], False)
    yield Place("wpe.weight", network.positions.weight, False)
    blocks: Any = network.blocks
    for i, block in enumerate(blocks):
        parts: dict[str, Any] = {
            "ln_1": block.attention_norm,
            "attn.c_attn": block.attention.queries_keys_values,
            "attn.c_proj": block.attention.project,
            "ln_2": block.norm,
            "mlp.c_fc": block.expand,
            "mlp.c_proj": block.project,
        }
        for name, part in parts.items():
            yield Place(f"h.{i}.{name}.weight", part.weight, isinstance(part, nn.Linear))
            yield Place(f"h.{i}.{name}.bias", part.bias, False)
    yield Place("ln_f.weight", network.final_norm.weight, False)
    yield Place("ln_f.bias", network.final_norm.bias, False)
    if not is_tied(network, head):
        yield Place("lm_head.weight", head.weight[: head.num_classes], False)


def is_tied(network: GPT2, head: LossHead) -> bool:
    """Whether the unembedding is the token embedding."""
    return head.weight is network.embedding.weight
