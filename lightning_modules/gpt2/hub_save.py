"""GPT-2 weights and config written in Hugging Face's format."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_modules.gpt2.hub_load import (
    FIXED_OPTIONS,
    GPT2_TYPE,
    HARMONIC_TYPE,
    WEIGHTS,
    is_tied,
    map_tensors,
)
from lightning_modules.heads import CrossEntropyHead, HarmonicHead, LossHead
from lightning_modules.networks import GPT2


def gpt2_config(network: GPT2, head: LossHead) -> dict[str, Any]:
    """The content of ``config.json``; ids of special tokens are None.

    Raises:
        ValueError: transformers' GPT-2 has no such network or head.
    """
    if not isinstance(network, GPT2):
        raise ValueError(f"the network is {type(network).__name__}; only a GPT2 can be exported")
    if not isinstance(head, HarmonicHead | CrossEntropyHead):
        raise ValueError(
            f"the head is {type(head).__name__}; only models with a CrossEntropyHead or a "
            f"HarmonicHead can be exported"
        )
    if isinstance(head, CrossEntropyHead) and head.bias is not None:
        raise ValueError(
            "the head has a bias, but GPT-2 in transformers has none; only models trained with "
            "model.head.bias false can be exported"
        )
    attention: Any = network.blocks[0].attention
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": GPT2_TYPE,
        "vocab_size": network.vocab_size,
        "n_positions": network.context_length,
        "n_embd": network.out_features,
        "n_layer": len(network.blocks),
        "n_head": attention.num_heads,
        "initializer_range": network.initial_std,
        **dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), network.dropout.p),
        "tie_word_embeddings": is_tied(network, head),
        "bos_token_id": None,
        "eos_token_id": None,
        **FIXED_OPTIONS,
    }
    if isinstance(head, HarmonicHead):
        config |= {"exponent": head.exponent, "eps": head.eps, "model_type": HARMONIC_TYPE}
        config["architectures"] = ["HarmonicGPT2LMHeadModel"]
    return config


def gpt2_tensors(network: GPT2, head: LossHead) -> dict[str, Tensor]:
    """The weights by transformers' names; a bias that the network does not have is zero."""
    tensors: dict[str, Tensor] = {}
    for name, tensor, transposed in map_tensors(network, head):
        if tensor is None:
            weight = tensors[_prefixed(name.removesuffix("bias") + "weight")]  # (in, out) or (out,)
            tensor = weight.new_zeros(weight.shape[-1])
        tensor = tensor.detach().T if transposed else tensor.detach()
        tensors[_prefixed(name)] = tensor.contiguous()
    return tensors


def write_model(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> list[str]:
    """Write ``config.json`` and ``model.safetensors`` into a folder; returns their names."""
    from safetensors.torch import save_file

    config_file = folder / "config.json"
    config_file.write_text(json.dumps(config, indent=2) + "\n")
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(config_file.stat().st_mode)  # safetensors makes it private
    return [WEIGHTS, "config.json"]


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``folder`` on success and is deleted on an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".{folder.name}.{os.getpid()}.partial"
    try:
        partial.mkdir()
        yield partial
        os.replace(partial, folder)  # also replaces an empty folder
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _prefixed(name: str) -> str:
    return name if name.startswith("lm_head.") else f"transformer.{name}"
