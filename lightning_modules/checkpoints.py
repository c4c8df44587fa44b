"""A trained language model from its checkpoint or Hugging Face folder, without a trainer."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import torch

from lightning_modules.language_model import LanguageModel
from lightning_modules.pretrained import open_pretrained


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


def _read(path: str) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"the checkpoint {path} cannot be read ({reason}); it is damaged, or holds more than "
            f"numbers and names, which is never loaded; take another one"
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise ValueError(f"{path} is no checkpoint of `lightning fit`; name one")
    return content
