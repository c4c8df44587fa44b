"""GPT-2 weights in Hugging Face's format: tensor names, and loading from a folder or the hub."""

from __future__ import annotations

import json
import math
import os
import re
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_modules.heads import CrossEntropyHead, HarmonicHead, LossHead
from lightning_modules.networks import GPT2

# ``model_type`` in config.json: transformers' GPT-2, and ours of ``transformers_model.py``.
GPT2_TYPE = "gpt2"
HARMONIC_TYPE = "glassbox-harmonic-gpt2"
GPT2_VOCABULARY = 50257
WEIGHTS = "model.safetensors"

# Options that our GPT-2 computes with; transformers' defaults, as all of ``_DEFAULTS``.
FIXED_OPTIONS: dict[str, Any] = {
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "n_inner": None,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
# transformers leaves defaults out of config.json.
_DEFAULTS: dict[str, Any] = {
    "vocab_size": GPT2_VOCABULARY,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "resid_pdrop": 0.1,
    "tie_word_embeddings": True,
    "exponent": None,
    "eps": 1e-10,
    **FIXED_OPTIONS,
}
# Causal masks, which old files store beside the weights.
_MASK = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")
_DOWNLOADED = [
    "config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
]
_WRITERS = "name a folder that `lightning export` or transformers' save_pretrained wrote"


class TensorMapping(NamedTuple):
    """One tensor of Hugging Face's format and ours that corresponds to it."""

    name: str  # without the leading "transformer."
    tensor: Tensor | None  # ours; None for a bias that the network does not have
    transposed: bool  # transformers stores linear weights as (in, out), torch as (out, in)


def map_tensors(network: GPT2, head: LossHead) -> Iterator[TensorMapping]:
    """Every tensor of network and head, without the padding of the vocabulary."""
    yield TensorMapping("wte.weight", network.embedding.weight[: network.vocab_size], False)
    yield TensorMapping("wpe.weight", network.positions.weight, False)
    blocks: Any = network.blocks
    for i, block in enumerate(blocks):
        modules: dict[str, Any] = {
            "ln_1": block.norm1,
            "attn.c_attn": block.attention.qkv,
            "attn.c_proj": block.attention.out,
            "ln_2": block.norm2,
            "mlp.c_fc": block.fc_in,
            "mlp.c_proj": block.fc_out,
        }
        for name, module in modules.items():
            is_linear = isinstance(module, nn.Linear)
            yield TensorMapping(f"h.{i}.{name}.weight", module.weight, is_linear)
            yield TensorMapping(f"h.{i}.{name}.bias", module.bias, False)
    yield TensorMapping("ln_f.weight", network.final_norm.weight, False)
    yield TensorMapping("ln_f.bias", network.final_norm.bias, False)
    if not is_tied(network, head):
        yield TensorMapping("lm_head.weight", head.weight[: head.num_classes], False)


def is_tied(network: GPT2, head: LossHead) -> bool:
    """Whether the unembedding is the token embedding."""
    return head.weight is network.embedding.weight


class Pretrained(NamedTuple):
    """A folder of GPT-2 weights with a config that our network supports."""

    name: str  # as the user wrote it
    folder: Path
    config: dict[str, Any]

    def options(self) -> dict[str, Any]:
        """Arguments of a ``LanguageModel`` with this network and head."""
        config = self.config
        sizes = {"num_layers": "n_layer", "num_heads": "n_head", "width": "n_embd"}
        network = {option: config[key] for option, key in sizes.items()}
        head: Any = CrossEntropyHead
        if config["model_type"] == HARMONIC_TYPE:
            head = partial(HarmonicHead, exponent=config["exponent"], eps=config["eps"])
        return {
            "network": partial(GPT2, **network, dropout=config["resid_pdrop"]),
            "head": head,
            "vocab_size": config["vocab_size"],
            "context_length": config["n_positions"],
            "tie_embedding": config["tie_word_embeddings"],
        }

    def tokenizer(self) -> str | None:
        """Name of the tokenizer: the folder if it has one, 'gpt2' by the vocabulary, else None."""
        files = {path.name for path in self.folder.iterdir()}
        if "tokenizer.json" in files or {"vocab.json", "merges.txt"} <= files:
            return os.path.abspath(self.folder)
        return "gpt2" if self.config["vocab_size"] == GPT2_VOCABULARY else None

    def copy_into(self, network: GPT2, head: LossHead) -> None:
        """Replace the weights of a network and head by those of the folder.

        A network with a shorter context takes the first positions.

        Raises:
            ValueError: The sizes differ, or weights are missing, damaged or unknown.
        """
        self._check_sizes(network, head)
        self._warn_if_heads_differ(head)
        mappings = {mapping.name: mapping for mapping in map_tensors(network, head)}
        stored_tied = self.config["tie_word_embeddings"]
        if stored_tied:
            mappings.pop("lm_head.weight", None)
        missing = set(mappings)
        for key, stored in self._stored_tensors():
            name = key.removeprefix("transformer.")
            if _MASK.fullmatch(name) or (name == "lm_head.weight" and stored_tied):
                continue
            if name not in mappings:
                raise ValueError(f"{self.name}: {key} does not belong to the GPT-2 of config.json")
            self._copy(stored, mappings[name])
            missing.discard(name)
        if missing:
            raise ValueError(
                f"{self.name}: missing {len(missing)} weights, such as {min(missing)}; write or "
                f"download them again"
            )
        if stored_tied and not is_tied(network, head):
            with torch.no_grad():
                head.weight[: network.vocab_size] = network.embedding_matrix()
        geometry = getattr(head, "geometry", head)
        if isinstance(geometry, CrossEntropyHead) and geometry.bias is not None:
            nn.init.zeros_(geometry.bias)  # GPT-2's logits have no bias

    def _copy(self, stored: Tensor, mapping: TensorMapping) -> None:
        if mapping.tensor is None:
            if stored.any():
                raise ValueError(
                    f"{self.name} has biases ({mapping.name}); set model.network.bias to true"
                )
            return
        if mapping.name == "wpe.weight":
            stored = stored[: len(mapping.tensor)]
        stored = stored.T if mapping.transposed else stored
        if stored.shape != mapping.tensor.shape:
            raise ValueError(
                f"{self.name}: {mapping.name} has shape {tuple(stored.shape)}, expected "
                f"{tuple(mapping.tensor.shape)} by its config.json; write or download it again"
            )
        with torch.no_grad():
            mapping.tensor.copy_(stored)

    def _check_sizes(self, network: GPT2, head: LossHead) -> None:
        if not isinstance(network, GPT2):
            raise ValueError(
                f"init_from: {self.name} is a GPT-2, but model.network is "
                f"{type(network).__name__}; set it to GPT2"
            )
        attention: Any = network.blocks[0].attention
        sizes = {
            "num_layers": (self.config["n_layer"], len(network.blocks)),
            "num_heads": (self.config["n_head"], attention.num_heads),
            "width": (self.config["n_embd"], network.out_features),
            "vocab_size": (self.config["vocab_size"], network.vocab_size),
        }
        _require_equal(self.name, sizes, "make model.network and the data's tokenizer match it")
        if self.config["n_positions"] < network.context_length:
            raise ValueError(
                f"{self.name} has {self.config['n_positions']} positions, but the model's context "
                f"is {network.context_length}; lower data.block_size"
            )
        if not self.config["tie_word_embeddings"] and is_tied(network, head):
            raise ValueError(
                f"{self.name} has a separate unembedding; set model.tie_embedding to false"
            )

    def _warn_if_heads_differ(self, head: LossHead) -> None:
        trained = "CrossEntropyHead"
        if self.config["model_type"] == HARMONIC_TYPE:
            exponent = self.config["exponent"] or math.sqrt(self.config["n_embd"])
            trained = f"HarmonicHead(exponent={exponent:g}, eps={self.config['eps']:g})"
        current = type(head).__name__
        if isinstance(head, HarmonicHead):
            current = f"HarmonicHead(exponent={head.exponent:g}, eps={head.eps:g})"
        if current != trained:
            warnings.warn(
                f"the weights of {self.name} were trained with {trained} but this run uses "
                f"{current}; use them as an initialization, losses before training are meaningless",
                stacklevel=2,
            )

    def _stored_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Names and tensors of all weight files, one in memory at a time."""
        from safetensors import SafetensorError, safe_open

        index = self.folder / f"{WEIGHTS}.index.json"
        files = [WEIGHTS]
        if not (self.folder / WEIGHTS).exists() and index.exists():
            files = sorted(set(_read_json(index).get("weight_map", {}).values()))
        for file in files:
            try:
                with safe_open(self.folder / file, framework="pt") as stored:
                    for name in stored.keys():  # noqa: SIM118 (not a dict)
                        yield name, stored.get_tensor(name)
            except (SafetensorError, OSError) as error:
                raise ValueError(
                    f"{self.name}: cannot read {file} ({' '.join(str(error).split())}); write or "
                    f"download it again"
                ) from error


def open_pretrained(name: str) -> Pretrained:
    """Open a folder of GPT-2 weights, or download a model of the Hugging Face hub once.

    Args:
        name: A folder with ``config.json`` and ``model.safetensors``; if there is no such folder,
            a model on the hub, such as 'openai-community/gpt2'.

    Raises:
        ValueError: There is no such folder or model, or our network does not support it.
    """
    folder = Path(name).expanduser()
    if folder.is_file():
        raise ValueError(f"{name} is a file; {_WRITERS}, or a model of the Hugging Face hub")
    folder = folder if folder.is_dir() else _download(name)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{name} has no config.json; {_WRITERS}")
    config = {**_DEFAULTS, **_read_json(folder / "config.json")}
    if config.get("model_type") not in (GPT2_TYPE, HARMONIC_TYPE):
        raise ValueError(
            f"{name}: model_type is {config.get('model_type')!r}; it must be {GPT2_TYPE!r} or "
            f"{HARMONIC_TYPE!r}"
        )
    if config["n_inner"] == 4 * config["n_embd"]:
        config["n_inner"] = None
    if config["activation_function"] == "gelu_pytorch_tanh":  # another name of gelu_new
        config["activation_function"] = "gelu_new"
    options = {key: (config[key], value) for key, value in FIXED_OPTIONS.items()}
    _require_equal(name, options, "other variants of GPT-2 are not supported")
    return Pretrained(name, folder, config)


def load_pretrained(name: str, network: Any, head: LossHead) -> None:
    """Replace the weights of a GPT-2 and its head by those of a folder or a model of the hub.

    The head may be tied to the network only if the stored weights are tied too.

    Raises:
        ValueError: There are no such weights, or they do not fit.
    """
    open_pretrained(name).copy_into(network, head)


def _require_equal(name: str, values: dict[str, tuple[Any, Any]], hint: str) -> None:
    """Raise if stored and expected values, by option, differ."""
    different = {key: pair for key, pair in values.items() if pair[0] != pair[1]}
    if different:
        stored = ", ".join(f"{key} {pair[0]!r}" for key, pair in different.items())
        expected = ", ".join(f"{key} {pair[1]!r}" for key, pair in different.items())
        raise ValueError(f"{name} has {stored}, expected {expected}; {hint}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(
            f"{path} is not valid JSON ({error}); write or download it again"
        ) from None
    return content


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_DOWNLOADED))
    except Exception as error:  # of the network, a proxy or the hub
        raise ValueError(
            f"{name} is not a folder, and downloading it from the Hugging Face hub failed "
            f"({type(error).__name__}); check the name, or name a folder"
        ) from None
