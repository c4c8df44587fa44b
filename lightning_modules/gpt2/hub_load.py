"""GPT-2 weights in Hugging Face's format, from a folder or the hub into our network."""

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
from lightning_modules.networks.gpt2 import PRESETS

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
            "ln_1": block.norm1,
            "attn.c_attn": block.attention.qkv,
            "attn.c_proj": block.attention.out,
            "ln_2": block.norm2,
            "mlp.c_fc": block.fc_in,
            "mlp.c_proj": block.fc_out,
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


# transformers leaves out of config.json what it takes for granted.
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
}
# Options of transformers' GPT-2 that ours has not, each with the values that it computes with; the
# first is transformers' default.
_ONLY: dict[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}
# Causal masks, which old files hold beside the weights.
_MASK = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")
_DOWNLOADED = [
    "config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
]


class Pretrained(NamedTuple):
    """A folder of weights and its config, of which everything has been checked but the weights."""

    name: str  # as it was given, for messages
    folder: Path
    config: dict[str, Any]

    def options(self) -> dict[str, Any]:
        """The arguments of a ``LanguageModel`` of just this network and head."""
        config = self.config
        sizes = {"num_layers": "n_layer", "num_heads": "n_head", "width": "n_embd"}
        network = {ours: config[theirs] for ours, theirs in sizes.items()}
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
        """What loads the tokenizer: the folder, if it holds one; else GPT-2's, if it is as large.

        None where neither can be told.
        """
        held = {path.name for path in self.folder.iterdir()}
        if "tokenizer.json" in held or {"vocab.json", "merges.txt"} <= held:
            return os.path.abspath(self.folder)
        return "gpt2" if self.config["vocab_size"] == GPT2_VOCABULARY else None

    def copy_into(self, network: GPT2, head: LossHead) -> None:
        """Replace the weights of a network and head by those of the folder.

        Of the positions the first are taken, as many as the network has.

        Raises:
            ValueError: Sizes differ, or weights are missing, damaged or too many.
        """
        self._check_sizes(network, head)
        self._warn_of_another_head(head)
        wanted = {place.name: place for place in places(network, head)}
        one_matrix = self.config["tie_word_embeddings"]
        if one_matrix:
            wanted.pop("lm_head.weight", None)
        found = set()
        for key, stored in self._stored_tensors():
            name = key.removeprefix("transformer.")
            if _MASK.fullmatch(name) or (name == "lm_head.weight" and one_matrix):
                continue
            if name not in wanted:
                raise ValueError(f"{self.name} holds {key}, which a GPT-2 of its config.json lacks")
            found.add(name)
            self._copy(stored, wanted[name])
        if missing := [name for name in wanted if name not in found]:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ValueError(
                f"the weights in {self.name} lack {missing[0]}{more}; write or download them again"
            )
        if one_matrix and not is_tied(network, head):
            with torch.no_grad():
                head.weight[: network.vocab_size] = network.embedding_matrix()
        readout = getattr(head, "geometry", head)  # of a head that is an objective
        if isinstance(readout, CrossEntropyHead) and readout.bias is not None:
            nn.init.zeros_(readout.bias)  # GPT-2 has none on its logits

    def _copy(self, stored: Tensor, place: Place) -> None:
        if place.tensor is None:
            if stored.any():
                raise ValueError(
                    f"{self.name} has biases, such as {place.name}, and model.network.bias is "
                    f"false; set it to true"
                )
            return
        if place.name == "wpe.weight":
            stored = stored[: len(place.tensor)]
        stored = stored.T if place.transposed else stored
        if stored.shape != place.tensor.shape:
            raise ValueError(
                f"{place.name} in {self.name} has the shape {tuple(stored.shape)} and not "
                f"{tuple(place.tensor.shape)}, as its config.json says; write or download it again"
            )
        with torch.no_grad():
            place.tensor.copy_(stored)

    def _check_sizes(self, network: GPT2, head: LossHead) -> None:
        config, name = self.config, self.name
        if not isinstance(network, GPT2):
            raise ValueError(
                f"{name} holds a GPT-2, and model.network is {type(network).__name__}; use GPT2"
            )
        theirs = (config["n_layer"], config["n_head"], config["n_embd"])
        block: Any = network.blocks[0]
        ours = (len(network.blocks), block.attention.num_heads, network.out_features)
        if theirs != ours:
            preset = next((preset for preset, sizes in PRESETS.items() if sizes == theirs), None)
            remedy = (
                f"preset to {preset}"
                if preset
                else "num_layers, num_heads and width to the first ones"
            )
            raise ValueError(
                f"{name} has {theirs[0]} layers, {theirs[1]} heads and width {theirs[2]}, and the "
                f"model {ours[0]}, {ours[1]} and {ours[2]}; set model.network's {remedy}"
            )
        if config["vocab_size"] != network.vocab_size:
            raise ValueError(
                f"{name} has a vocabulary of {config['vocab_size']} tokens, and the model's is "
                f"{network.vocab_size}; use data with the tokenizer of these weights"
            )
        if config["n_positions"] < network.context_length:
            raise ValueError(
                f"{name} knows {config['n_positions']} positions, and the model's context is "
                f"{network.context_length}; lower data.block_size to the first"
            )
        if not config["tie_word_embeddings"] and is_tied(network, head):
            raise ValueError(
                f"{name} has an unembedding of its own, and model.tie_embedding is true; set it "
                f"to false"
            )

    def _warn_of_another_head(self, head: LossHead) -> None:
        theirs = "CrossEntropyHead"
        if self.config["model_type"] == HARMONIC_TYPE:
            exponent = self.config["exponent"] or math.sqrt(self.config["n_embd"])
            theirs = f"HarmonicHead(exponent={exponent:g}, eps={self.config['eps']:g})"
        ours = type(head).__name__
        if isinstance(head, HarmonicHead):
            ours = f"HarmonicHead(exponent={head.exponent:g}, eps={head.eps:g})"
        if ours != theirs:
            warnings.warn(
                f"the weights of {self.name} were trained under {theirs}; under {ours} they are a "
                f"start to train from, and losses before that say nothing",
                stacklevel=2,
            )

    def _stored_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Names and tensors of all files of weights, one in memory at a time."""
        from safetensors import SafetensorError, safe_open

        for file in self._files():
            try:
                with safe_open(file, framework="pt") as stored:
                    for name in stored.keys():  # noqa: SIM118 (it is no dict)
                        yield name, stored.get_tensor(name)
            except (SafetensorError, OSError) as error:
                raise ValueError(
                    f"{file} cannot be read ({' '.join(str(error).split())}); it is missing or "
                    f"damaged: write or download it again"
                ) from error

    def _files(self) -> list[Path]:
        index = self.folder / f"{WEIGHTS}.index.json"
        if (self.folder / WEIGHTS).exists() or not index.exists():
            if not (self.folder / WEIGHTS).exists():
                raise ValueError(
                    f"{self.name} holds no {WEIGHTS}; name a folder that `lightning export` or "
                    f"save_pretrained of transformers wrote"
                )
            return [self.folder / WEIGHTS]
        parts = _read_json(index).get("weight_map", {})
        return [self.folder / part for part in sorted(set(parts.values()))]


def open_pretrained(name: str) -> Pretrained:
    """A folder of GPT-2 weights, or a model of the Hugging Face hub, which is downloaded once.

    Args:
        name: A folder with ``config.json`` and ``model.safetensors``; or where there is no such
            folder the name of a model on the hub, such as 'openai-community/gpt2'.

    Raises:
        ValueError: There is no such folder or model, or it is no GPT-2 that our network can be.
    """
    folder = Path(name).expanduser()
    if folder.is_file():
        raise ValueError(
            f"{name} is a file; name a folder that `lightning export` or save_pretrained of "
            f"transformers wrote, or a model of the Hugging Face hub"
        )
    folder = folder if folder.is_dir() else _download(name)
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"the folder {name} holds no config.json; name one that `lightning export` or "
            f"save_pretrained of transformers wrote"
        )
    config = {**_DEFAULTS, **_read_json(folder / "config.json")}
    kind = config.get("model_type")
    if kind not in (GPT2_TYPE, HARMONIC_TYPE):
        raise ValueError(
            f"{name} holds a model of the type {kind!r}; only {GPT2_TYPE!r} and {HARMONIC_TYPE!r} "
            f"can be read"
        )
    _check_options(name, config)
    return Pretrained(name, folder, config)


def load_pretrained(name: str, network: Any, head: LossHead) -> None:
    """Replace the weights of a network and head by those of a folder or a model of the hub.

    Args:
        name: See ``open_pretrained``.
        network: A ``GPT2`` of the same layers, heads, width and vocabulary.
        head: Any head; tied to the network only if the stored weights are tied too.

    Raises:
        ValueError: There are no such weights, or they are of another model.
    """
    open_pretrained(name).copy_into(network, head)


def _check_options(name: str, config: dict[str, Any]) -> None:
    """Refuse a GPT-2 that computes something else than ours."""
    for key in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head"):
        if not isinstance(config[key], int) or config[key] < 1:
            raise ValueError(f"{name}: config.json has {key} {config[key]!r}, no number of things")
    for key in ("resid_pdrop", "eps", "exponent"):
        value = config[key]
        if not isinstance(value, int | float) and not (key == "exponent" and value is None):
            raise ValueError(f"{name}: config.json has {key} {value!r}, which is no number")
    inner = 4 * config["n_embd"]
    for key, values in {**_ONLY, "n_inner": (None, inner)}.items():
        if (value := config.get(key, values[0])) not in values:
            allowed = " or ".join(map(repr, values))
            raise ValueError(f"{name} has {key} {value!r}; this GPT-2 has {allowed} only")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no valid JSON ({error}); write or download it again") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object; write or download it again")
    return content


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_DOWNLOADED))
    except Exception as error:  # whatever the network, a proxy or the hub makes of it
        raise ValueError(
            f"there is no folder {name}, and no model of that name could be had from the Hugging "
            f"Face hub ({type(error).__name__}); check the name, or download the model where "
            f"there is a network and name its folder"
        ) from None
