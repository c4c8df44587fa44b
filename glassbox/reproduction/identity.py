"""Identity of a grid point: the settings that decide its numbers, and their hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

FORMAT = 2  # version of option names, metric names and stored files; others are not read

# Trainer settings that decide a run's numbers, with the values that change nothing. The other
# settings only decide where and how it runs.
_DECISIVE: dict[str, tuple[Any, ...]] = {
    "max_epochs": (None,),
    "max_steps": (None,),
    "min_epochs": (None,),
    "min_steps": (None,),
    "max_time": (None,),
    "precision": (None,),
    "gradient_clip_val": (None,),
    "gradient_clip_algorithm": (None,),
    "accumulate_grad_batches": (None, 1),
    "check_val_every_n_epoch": (None, 1),
    "val_check_interval": (None, 1.0),
    "limit_train_batches": (None, 1.0),
    "limit_val_batches": (None, 1.0),
    "limit_test_batches": (None, 1.0),
    "overfit_batches": (None, 0.0),
    "reload_dataloaders_every_n_epochs": (None, 0),
    "callbacks": (None, []),
}
# Options that change no final number, of the model, the data, probes, and other callbacks.
_MODEL_OPTIONS = {"compile", "num_seeds", "seeds"}
_DATA_OPTIONS = {"seeds", "data_dir"}
_PROBE_OPTIONS = {"every_n_epochs", "figures_every_n_epochs"}
_CALLBACK_OPTIONS = {"verbose", "log_rank_zero_only"}
_DRAWING_CALLBACKS = {"callbacks.NeuronAllocation"}  # they measure nothing


def identity_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a resolved config that decide the numbers of one seed, without the seed."""
    trainer = config["trainer"]
    for key, value in (
        ("trainer.fast_dev_run", trainer.get("fast_dev_run")),
        ("ckpt_path", config.get("ckpt_path")),
    ):
        if value:
            raise ValueError(f"a study cannot have {key} ({value}): remove it")
    decisive = {
        key: trainer[key]
        for key, without_effect in _DECISIVE.items()
        if trainer.get(key) not in without_effect
    }
    if "callbacks" in decisive:
        decisive["callbacks"] = [
            _without(entry, _PROBE_OPTIONS if is_probe(entry) else _CALLBACK_OPTIONS)
            for entry in measuring(decisive["callbacks"])
        ]
    return {
        "model": _without(config["model"], _MODEL_OPTIONS),
        "data": _without(config["data"], _DATA_OPTIONS),
        "trainer": decisive,
    }


def identity_hash(identity: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that stand for an identity."""
    text = json.dumps({"format": FORMAT, **identity}, sort_keys=True, allow_nan=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def measuring(callbacks: Iterable[Mapping[str, Any]] | None) -> list[Mapping[str, Any]]:
    """The callbacks of a config without those that only draw."""
    return [entry for entry in callbacks or [] if entry.get("class_path") not in _DRAWING_CALLBACKS]


def is_probe(callback: Mapping[str, Any]) -> bool:
    """Whether a callback of a config is one of Glassbox's own."""
    return str(callback.get("class_path", "")).startswith("callbacks.")


def _without(entry: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """A class and its options except these."""
    options = {k: v for k, v in (entry.get("init_args") or {}).items() if k not in names}
    return {**entry, "init_args": options} if "init_args" in entry else dict(entry)
