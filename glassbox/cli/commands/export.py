"""`lightning export`: a trained language model as a folder that transformers loads."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from glassbox.cli.checkpoints import choose_tokenizer, load_language_model
from lightning_modules.gpt2.hub_load import (
    GPT2_TYPE,
    HARMONIC_TYPE,
    WEIGHTS,
    is_tied,
    places,
)
from lightning_modules.gpt2.hub_tokenizer import write_tokenizer
from lightning_modules.heads import CrossEntropyHead, HarmonicHead
from lightning_modules.language_model import LanguageModel
from lightning_modules.networks import GPT2


def export(
    checkpoint: str,
    output: str,
    tokenizer: str | None = None,
) -> str:
    """Write a model's weights, config and tokenizer as Hugging Face's libraries read them.

    With a cross-entropy head the folder is an ordinary GPT-2. With a harmonic one it needs
    ``import lightning_modules.gpt2.transformers_model`` before it is loaded. Either way it can be
    trained on
    or measured here, with ``model.init_from``.

    The folder appears when all of it is written. One that holds anything is left alone.

    Args:
        checkpoint: A .ckpt file of `lightning fit`.
        output: Folder to write; it must not exist yet, or be empty.
        tokenizer: Tokenizer of the data; null takes the one that the checkpoint names.

    Returns:
        What was written, and how to load it.

    Raises:
        ValueError: The folder is not empty, the tokenizer is not the model's, or no GPT-2 of
            transformers' can be this model.
    """
    folder = Path(output).expanduser().absolute()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ValueError(f"{output} exists and is not empty; name another folder with --output")
    loaded = load_language_model(checkpoint)
    config = gpt2_config(loaded.model)
    remark = ""
    if tokenizer is None and loaded.tokenizer is None:  # a checkpoint of earlier days
        remark = "the checkpoint names no tokenizer; by its vocabulary it is gpt2"
    reader = choose_tokenizer([loaded], tokenizer)
    if reader is not None:
        config["bos_token_id"] = config["eos_token_id"] = reader.end_of_text
    tensors = gpt2_tensors(loaded.model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".{folder.name}.{os.getpid()}.partial"
    try:
        partial.mkdir()
        written = _write(partial, config, tensors)
        if reader is None:
            remark = "no tokenizer: the checkpoint does not say which; name it with --tokenizer"
        elif files := write_tokenizer(reader, partial, config["n_positions"]):
            written += files
        else:
            remark = f"no tokenizer: {reader.name} cuts text in a way that these files cannot say"
        os.replace(partial, folder)  # takes the place of an empty folder
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return _report(output, config, tensors, written, remark)


def gpt2_config(model: LanguageModel) -> dict[str, Any]:
    """What ``config.json`` says of a model, the ids of special tokens still unknown.

    Raises:
        ValueError: transformers' GPT-2 has no such network or head.
    """
    network, head = model.network, model.head
    if not isinstance(network, GPT2):
        raise ValueError(
            f"only a GPT2 can be exported, and the network is {type(network).__name__}"
        )
    if not isinstance(head, HarmonicHead | CrossEntropyHead):
        raise ValueError(
            f"models with a CrossEntropyHead or a HarmonicHead can be exported, and the head is "
            f"{type(head).__name__}"
        )
    if isinstance(head, CrossEntropyHead) and head.bias is not None:
        raise ValueError(
            "the model's head adds a bias to every logit, which GPT-2 in transformers has not; "
            "only models trained with model.head.bias false can be exported"
        )
    block: Any = network.blocks[0]
    kind = HARMONIC_TYPE if isinstance(head, HarmonicHead) else GPT2_TYPE
    config = {
        "architectures": [
            {HARMONIC_TYPE: "HarmonicGPT2LMHeadModel", GPT2_TYPE: "GPT2LMHeadModel"}[kind]
        ],
        "model_type": kind,
        "vocab_size": network.vocab_size,
        "n_positions": network.context_length,
        "n_embd": network.out_features,
        "n_layer": len(network.blocks),
        "n_head": block.attention.num_heads,
        "n_inner": None,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": network.final_norm.eps,
        "initializer_range": network.initial_std,
        **dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), network.dropout.p),
        "tie_word_embeddings": is_tied(network, head),
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if isinstance(head, HarmonicHead):
        config |= {"exponent": head.exponent, "eps": head.eps}
    return config


def gpt2_tensors(model: LanguageModel) -> dict[str, Tensor]:
    """The weights by transformers' names; a bias that the network has not is zero."""
    tensors: dict[str, Tensor] = {}
    for name, tensor, transposed in places(model.network, model.head):
        if tensor is None:
            weight = tensors[_prefixed(name.removesuffix("bias") + "weight")]  # (in, out) or (out,)
            tensor = weight.new_zeros(weight.shape[-1])
        tensor = tensor.detach().T if transposed else tensor.detach()
        tensors[_prefixed(name)] = tensor.contiguous()
    return tensors


def _prefixed(name: str) -> str:
    return name if name.startswith("lm_head.") else f"transformer.{name}"


def _write(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> list[str]:
    from safetensors.torch import save_file

    written = folder / "config.json"
    written.write_text(json.dumps(config, indent=2) + "\n")
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(written.stat().st_mode)  # safetensors lets nobody else read it
    return [WEIGHTS, "config.json"]


def _report(
    output: str, config: dict[str, Any], tensors: dict[str, Tensor], files: list[str], remark: str
) -> str:
    count = sum(tensor.numel() for tensor in tensors.values())
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    load = f"AutoModelForCausalLM.from_pretrained({output!r})"
    if config["model_type"] == HARMONIC_TYPE:
        load = f"import lightning_modules.gpt2.transformers_model, then {load}"
    lines = [
        f"{output}: {', '.join(files)}",
        f"{count:,} parameters, {size / 2**20:.1f} MiB",
        *([remark] if remark else []),
        f"load it with: {load}",
    ]
    return "\n".join(lines)
