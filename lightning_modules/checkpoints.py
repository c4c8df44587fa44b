"""A trained language model from its checkpoint or Hugging Face folder, without a trainer."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from lightning_modules.gpt2_layout import GPT2_VOCABULARY
from lightning_modules.language_model import LanguageModel
from lightning_modules.pretrained import open_pretrained
from lightning_modules.tokenizer_files import TRIALS


class LoadedModel(NamedTuple):
    """A trained model and what it reads."""

    model: LanguageModel  # in evaluation mode, on the CPU, in float32
    tokenizer: str | None  # what data.tokenizer was or could be; None where that is not said


def load_language_model(path: str) -> LoadedModel:
    """The language model of a checkpoint, or GPT-2 weights in Hugging Face's format.

    Args:
        path: A ``.ckpt`` file of `lightning fit`; a folder that `lightning export` or transformers
            wrote; or, where there is no such file or folder, a model of the Hugging Face hub.

    Raises:
        ValueError: There is no such file, it is damaged, or it holds no language model.
    """
    if os.path.splitext(path)[1] == ".ckpt" and not os.path.exists(path):
        raise ValueError(
            f"there is no checkpoint {path}; name a .ckpt file of a run's checkpoints/"
        )
    if not os.path.isfile(path):
        source = open_pretrained(path)
        model = LanguageModel(**source.options(), init_from=str(source.folder))
        return LoadedModel(model.eval().float(), source.tokenizer())
    content = _read(path)
    settings = content.get("hyper_parameters", {})
    if "network" not in settings or "num_classes" in settings:
        raise ValueError(
            f"{path} holds no language model, and this command needs the checkpoint of one"
        )
    model = LanguageModel.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    tokenizer = content.get("OpenWebText", {}).get("tokenizer")
    return LoadedModel(model.eval().float(), tokenizer)


def choose_tokenizer(
    loaded: Sequence[LoadedModel], asked: str | None, load_tokenizer: Callable[[str], Any]
) -> Any | None:
    """The tokenizer of trained models, loaded, when it is known and certain to be theirs.

    Two names can mean one tokenizer (GPT-2's, and the files of an export), so that what is compared
    are the ids of some odd texts.

    Args:
        loaded: Models of one vocabulary.
        asked: The name that the user gave; None takes the one that the models name, or GPT-2's
            where none does and the vocabulary is as large.
        load_tokenizer: From a name to a tokenizer.

    Returns:
        The tokenizer; None where it is not known.

    Raises:
        ValueError: The models' tokenizers differ, from one another or from the one that was asked
            for, or its size is not theirs.
    """
    size = loaded[0].model.head.num_classes
    names = list(dict.fromkeys(name for _, name in loaded if name is not None))
    if asked is None and not names:
        if not _fits(GPT2_VOCABULARY, size):
            return None
        names = ["gpt2"]
    names = ([] if asked is None else [asked]) + [name for name in names if name != asked]
    tokenizer, *others = (load_tokenizer(name) for name in names)
    if not _fits(tokenizer.vocab_size, size):
        raise ValueError(
            f"the tokenizer {names[0]} has {tokenizer.vocab_size:,} tokens and the model "
            f"{size:,}; name the one that it was trained with: --tokenizer"
        )
    for name, other in zip(names[1:], others, strict=True):
        pairs = zip(tokenizer.encode_batch(TRIALS), other.encode_batch(TRIALS), strict=True)
        if any(a.tolist() != b.tolist() for a, b in pairs):
            trained = "" if asked is None else ", which a model was trained with,"
            raise ValueError(
                f"the tokenizers {names[0]} and {name}{trained} give different ids to the same "
                f"text; models and tokenizer must belong together"
            )
    return tokenizer


def _fits(tokens: int, rows: int) -> bool:
    """Whether a model with so many rows can have a tokenizer of so many tokens.

    Elsewhere rows are added up to a multiple of 64 or 128, and count as tokens in a folder of
    Hugging Face's.
    """
    return tokens == rows or (rows % 64 == 0 and 0 < rows - tokens < 128)


def _read(path: str) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise ValueError(
            f"the checkpoint {path} cannot be read: it is damaged, or no checkpoint, or holds more "
            f"than numbers and names, which is never loaded; take another one"
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise ValueError(f"{path} is no checkpoint of `lightning fit`; name one")
    return content
