"""Names that earlier versions wrote into checkpoints, and what they are called now."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

# Classes, by short name.
CLASSES = {
    "PixelMLP": "VectorMLP",
    "Pixels": "Identity",
    "SoftNearestNeighbourHead": "SoftNearestNeighborHead",
}
# Options of the LightningModules, by class.
MODEL_OPTIONS = {
    "Classifier": {"num_tokens": "num_inputs"},
    "FeatureAutoencoder": {"kind": "activation"},
    "LanguageModel": {"num_tokens": "context_length", "start": "feature_scale_init"},
    "TextClassifier": {"num_tokens": "context_length"},
}
# Values of options, by the option's new name.
VALUES = {
    "activation": {"linear": "none", "relu": "output", "relu_hidden": "hidden_and_output"},
}
# Options that classes no longer have, with the value that is now fixed.
REMOVED = {"ToyTransformer": {"causal": False}}
# Parameters: regular expressions on the keys of a state dict, applied in this order.
PARAMETERS = [
    (r"\b(blocks\.\d+)\.attention_norm\.", r"\1.norm1."),
    (r"\b(blocks\.\d+)\.norm\.", r"\1.norm2."),
    (r"\b(blocks\.\d+)\.attention\.queries_keys_values\.", r"\1.attention.qkv."),
    (r"\b(blocks\.\d+)\.attention\.project\.", r"\1.attention.out."),
    (r"\b(blocks\.\d+)\.expand\.", r"\1.fc_in."),
    (r"\b(blocks\.\d+)\.project\.", r"\1.fc_out."),
    (r"\b(layers\.\d+)\.feedforward1\.", r"\1.fc_in."),
    (r"\b(layers\.\d+)\.feedforward2\.", r"\1.fc_out."),
]


def rename_hyper_parameters(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's ``hyper_parameters`` with today's option names, values and class paths."""
    options = MODEL_OPTIONS[_model_of(stored)]
    renamed = {options.get(name, name): value for name, value in stored.items()}
    for name, value in renamed.items():
        if name in VALUES and isinstance(value, str):
            renamed[name] = VALUES[name].get(value, value)
        elif is_spec(value):
            renamed[name] = _rename_spec(value)
    return renamed


def is_spec(value: object) -> bool:
    """Whether this is a class as plain data, ``{"class_path": ..., "init_args": {...}}``."""
    return isinstance(value, dict) and "class_path" in value


def rename_class_path(path: str) -> str:
    """Today's path of a class; this package's classes are addressed at its top level."""
    package, _, name = path.rpartition(".")
    if package.split(".")[0] != "lightning_modules":
        return path
    return f"lightning_modules.{CLASSES.get(name, name)}"


def rename_parameters(state: dict[str, Any], names: Collection[str]) -> None:
    """Rename the keys of a stored state dict to ``names``, the model's own, in place."""
    for old in [key for key in state if key not in names]:
        new = old
        for pattern, replacement in PARAMETERS:
            new = re.sub(pattern, replacement, new)
        if new in names:
            state[new] = state.pop(old)


def _model_of(stored: Mapping[str, Any]) -> str:
    """The LightningModule that wrote these hyper-parameters; its class name is not stored."""
    if "num_values" in stored:
        return "FeatureAutoencoder"
    if "num_seeds" in stored:
        return "Classifier"
    return "TextClassifier" if "num_classes" in stored else "LanguageModel"


def _rename_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    path = spec["class_path"] and rename_class_path(spec["class_path"])
    removed = REMOVED.get(str(path).rpartition(".")[2], {})
    options = {
        name: _rename_spec(value) if is_spec(value) else value
        for name, value in (spec.get("init_args") or {}).items()
        if name not in removed or removed[name] != value
    }
    return {**spec, "class_path": path, "init_args": options}
