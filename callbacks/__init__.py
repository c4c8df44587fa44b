"""Callbacks that measure interpretability while a model trains, by their short names."""

from callbacks.analogies import Analogies
from callbacks.decision_map import DecisionMap
from callbacks.dry_run import describe_run, dry_run_settings
from callbacks.embedding_geometry import EmbeddingGeometry
from callbacks.exact_resume import ExactResume
from callbacks.feature_geometry import FeatureGeometry
from callbacks.generalization import Generalization
from callbacks.graceful_stop import GracefulStop
from callbacks.last_checkpoint import checkpoint_to_load
from callbacks.launch import check_launch, cluster_plugins, planned_launch
from callbacks.model_selection import ModelSelection
from callbacks.neuron_allocation import NeuronAllocation
from callbacks.parallelograms import Parallelograms
from callbacks.phase_diagram import PhaseDiagram
from callbacks.prediction_table import PredictionTable
from callbacks.probe import Probe
from callbacks.run_checkpoint import RunCheckpoint
from callbacks.run_folder import run_folder_loggers
from callbacks.run_progress import RunProgress
from callbacks.run_summary import RunSummary
from callbacks.speed import Speed
from callbacks.text_samples import TextSamples
from callbacks.weight_images import WeightImages
from callbacks.weight_norms import WeightNorms
from callbacks.word_capacity import WordCapacity
from callbacks.word_deletion import WordDeletion

__all__ = sorted(n for n, v in vars().items() if getattr(v, "__module__", "").startswith(__name__))
