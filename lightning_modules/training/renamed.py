"""Names of earlier versions, so that their checkpoints load and their options are answered."""

from __future__ import annotations

# Classes by their short names.
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
# Values of the options above that have new names, by the new option.
VALUES = {
    "activation": {"linear": "none", "relu": "output", "relu_hidden": "hidden_and_output"},
}
# Parameters and buffers: regular expressions on state-dict keys, with their replacements.
PARAMETERS: dict[str, str] = {
    r"\b(blocks\.\d+)\.attention_norm\.": r"\1.norm1.",
    r"\b(blocks\.\d+)\.norm\.": r"\1.norm2.",
    r"\b(blocks\.\d+)\.attention\.queries_keys_values\.": r"\1.attention.qkv.",
    r"\b(blocks\.\d+)\.attention\.project\.": r"\1.attention.out.",
    r"\b(blocks\.\d+)\.expand\.": r"\1.fc_in.",
    r"\b(blocks\.\d+)\.project\.": r"\1.fc_out.",
    r"\b(layers\.\d+)\.feedforward1\.": r"\1.fc_in.",
    r"\b(layers\.\d+)\.feedforward2\.": r"\1.fc_out.",
}
