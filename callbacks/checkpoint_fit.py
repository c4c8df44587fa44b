"""Whether a checkpoint holds the model that a config describes."""

from __future__ import annotations

import re
import zipfile
from typing import Any

import torch

# Settings that decide what the stored weights mean, though not always their shapes.
_DECISIVE = ("network", "head", "seeds", "head_settings", "tie_embedding")
# Options of a network or head that change how it computes and not what.
_INDIFFERENT = {"fused"}
# Settings of a model that leave its training as it is, or say of the data what the data say
# themselves; num_seeds is compared as seeds.
_HARMLESS = {"compile", "init_from", "vocab_size", "num_tokens", "num_classes", "num_seeds"}
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


def difference(
    content: dict[str, Any], config: dict[str, Any], training: bool = False
) -> str | None:
    """The first setting in which a checkpoint that was read differs from a model config.

    Settings that only one of the two has are not compared: a checkpoint of an older version lacks
    those that came later.

    Args:
        content: The checkpoint.
        config: The model's ``init_args`` as the command line parsed them.
        training: Compare every setting that changes the training (learning rate, weight decay,
            ...), and not only those that decide what the weights mean.

    Returns:
        "trained with ..., and the config says ..."; None where there is none.
    """
    stored = content.get("hyper_parameters", {})
    if "seeds" in stored:
        config = {**config, "seeds": config.get("seeds") or list(range(config["num_seeds"]))}
    further = [name for name in config if name not in _HARMLESS] if training else []
    for name in dict.fromkeys((*_DECISIVE, *further)):
        if name in stored and name in config and not _same(stored[name], config[name]):
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


def _same(one: Any, two: Any) -> bool:
    """Whether two settings are the same, as far as both say them."""
    one, two = _flat(one), _flat(two)
    if isinstance(one, tuple) and isinstance(two, tuple):
        shared = one[1].keys() & two[1].keys()
        return one[0] == two[0] and all(_same(one[1][key], two[1][key]) for key in shared)
    return bool(one == two)


def _flat(value: Any) -> Any:
    """A recipe as (short class name, arguments), a sequence as a list; other values as they are."""
    if isinstance(value, dict) and value.get("class_path"):
        options = dict(value.get("init_args") or {})
        kept = {name: option for name, option in options.items() if name not in _INDIFFERENT}
        return value["class_path"].rpartition(".")[2], kept
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    flat = _flat(value)
    if isinstance(flat, tuple):
        return f"{flat[0]}({', '.join(f'{k}={_text(v)}' for k, v in flat[1].items())})"
    return str(flat)
