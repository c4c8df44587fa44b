"""Whether a checkpoint holds the model that a config describes."""

from __future__ import annotations

from typing import Any

import torch

# Settings that decide what the stored weights mean, though not always their shapes.
_DECISIVE = ("network", "head", "seeds", "tie_embedding")
# Options of a network or head that change how it computes and not what.
_INDIFFERENT = {"fused"}


def checkpoint_misfit(path: str, config: dict[str, Any]) -> str | None:
    """Why a checkpoint's weights are not those of a model config; None if they are.

    Sizes alone do not tell: a harmonic head has the shapes of a cross-entropy head, and seeds 0 and
    1 those of seeds 3 and 7, whose training examples are others' test examples.

    Args:
        path: Checkpoint file. One without settings, of another program, is not judged.
        config: The model's ``init_args`` as the command line parsed them.

    Raises:
        pickle.UnpicklingError, RuntimeError: The file is no checkpoint, or damaged.
    """
    stored = torch.load(path, weights_only=True, map_location="cpu")
    stored = stored.get("hyper_parameters", {})
    if "seeds" in stored:
        config = {**config, "seeds": config.get("seeds") or list(range(config["num_seeds"]))}
    for name in _DECISIVE:
        if name in stored and name in config and _flat(stored[name]) != _flat(config[name]):
            return (
                f"the checkpoint {path} was trained with {name} {_text(stored[name])}, and the "
                f"config says {_text(config[name])}; use the config.yaml beside the checkpoint"
            )
    return None


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
