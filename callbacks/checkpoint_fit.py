"""Whether a checkpoint holds the model that a config describes."""

from __future__ import annotations

import re
import zipfile
from typing import Any

import torch

# Settings that decide what the stored weights mean, though not always their shapes.
_DECISIVE = ("network", "head", "seeds", "tie_embedding")
# Options of a network or head that change how it computes and not what.
_INDIFFERENT = {"fused"}
_DAMAGED = (
    "the checkpoint {path} is damaged, or no checkpoint at all ({part}); use another with "
    "--ckpt_path"
)


def checkpoint_misfit(path: str, config: dict[str, Any]) -> str | None:
    """Why a checkpoint's weights are not those of a model config; None if they are.

    Sizes alone do not tell: a harmonic head has the shapes of a cross-entropy head, and seeds 0 and
    1 those of seeds 3 and 7, whose training examples are others' test examples.

    Args:
        path: Checkpoint file. One without settings, of another program, is not judged.
        config: The model's ``init_args`` as the command line parsed them.

    Raises:
        ValueError: The file is no checkpoint, damaged, or holds code.
    """
    misfit = difference(read_checkpoint(path), config)
    return (
        misfit and f"the checkpoint {path} was {misfit}; use the config.yaml beside the checkpoint"
    )


def difference(content: dict[str, Any], config: dict[str, Any]) -> str | None:
    """The first decisive setting in which a checkpoint that was read differs from a model config.

    Returns:
        "trained with ..., and the config says ..."; None where there is none.
    """
    stored = content.get("hyper_parameters", {})
    if "seeds" in stored:
        config = {**config, "seeds": config.get("seeds") or list(range(config["num_seeds"]))}
    for name in _DECISIVE:
        if name in stored and name in config and _flat(stored[name]) != _flat(config[name]):
            return (
                f"trained with {name} {_text(stored[name])}, and the config says "
                f"{_text(config[name])}"
            )
    return None


def read_checkpoint(path: str) -> dict[str, Any]:
    """A checkpoint's content, mapped into memory.

    Every byte is checked, since PyTorch notices a file that is cut short, and not one whose numbers
    have changed. Nothing is run: what is not numbers, names and plain containers is refused.

    Args:
        path: Checkpoint file.

    Raises:
        ValueError: It is damaged, no checkpoint, or holds code.
        OSError: It cannot be opened.
    """
    try:
        content = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except OSError:
        raise
    except Exception as error:
        code = re.search(r"GLOBAL `?([\w.]+)", str(error))  # the name of a class or function
        if code is not None:
            raise ValueError(
                f"the checkpoint {path} holds code ({code.group(1)}), which is never run; use one "
                f"that `lightning fit` wrote"
            ) from None
        raise ValueError(_DAMAGED.format(path=path, part="it cannot be read")) from None
    if damaged is not None:
        raise ValueError(_DAMAGED.format(path=path, part=f"{damaged} has changed"))
    if not isinstance(content, dict) or not {"state_dict", "global_step"} <= content.keys():
        raise ValueError(_DAMAGED.format(path=path, part="there are no weights in it"))
    return content


def _flat(value: Any) -> Any:
    """A recipe as (short class name, arguments); other values as they are."""
    if isinstance(value, dict) and value.get("class_path"):
        options = dict(value.get("init_args") or {})
        kept = {name: option for name, option in options.items() if name not in _INDIFFERENT}
        return value["class_path"].rpartition(".")[2], kept
    return value


def _text(value: Any) -> str:
    flat = _flat(value)
    if isinstance(flat, tuple):
        return f"{flat[0]}({', '.join(f'{k}={v}' for k, v in flat[1].items())})"
    return str(flat)
