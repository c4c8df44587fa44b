"""Callbacks that measure interpretability while a model trains, by their short names."""

from callbacks.embedding_geometry import EmbeddingGeometry
from callbacks.epoch_progress import EpochProgress
from callbacks.generalization import Generalization
from callbacks.probe import Probe
from callbacks.run_summary import RunSummary
from callbacks.weight_norms import WeightNorms

__all__ = [
    "EmbeddingGeometry",
    "EpochProgress",
    "Generalization",
    "Probe",
    "RunSummary",
    "WeightNorms",
]
