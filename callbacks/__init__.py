"""Callbacks that measure interpretability while a model trains, by their short names."""

from callbacks.checkpoint_fit import checkpoint_misfit
from callbacks.dry_run import describe_run
from callbacks.embedding_geometry import EmbeddingGeometry
from callbacks.generalization import Generalization
from callbacks.graceful_stop import GracefulStop
from callbacks.prediction_table import PredictionTable
from callbacks.probe import Probe
from callbacks.run_checkpoint import RunCheckpoint
from callbacks.run_folder import run_folder_loggers
from callbacks.run_progress import RunProgress
from callbacks.run_summary import RunSummary
from callbacks.speed import Speed
from callbacks.weight_norms import WeightNorms

__all__ = [
    "EmbeddingGeometry",
    "Generalization",
    "GracefulStop",
    "PredictionTable",
    "Probe",
    "RunCheckpoint",
    "RunProgress",
    "RunSummary",
    "Speed",
    "WeightNorms",
    "checkpoint_misfit",
    "describe_run",
    "run_folder_loggers",
]
