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
