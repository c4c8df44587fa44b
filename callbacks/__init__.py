"""Lightning callbacks: probes of representations, and callbacks that keep a run."""

from callbacks.probes.analogies import Analogies
from callbacks.probes.decision_map import DecisionMap
from callbacks.probes.embedding_geometry import EmbeddingGeometry
from callbacks.probes.feature_geometry import FeatureGeometry
from callbacks.probes.generalization import Generalization
from callbacks.probes.neuron_allocation import NeuronAllocation
from callbacks.probes.parallelograms import Parallelograms
from callbacks.probes.phase_diagram import PhaseDiagram
from callbacks.probes.probe import Probe
from callbacks.probes.text_samples import TextSamples
from callbacks.probes.weight_images import WeightImages
from callbacks.probes.weight_norms import WeightNorms
from callbacks.probes.word_capacity import WordCapacity
from callbacks.probes.word_deletion import WordDeletion
from callbacks.run.checkpoint import RunCheckpoint
from callbacks.run.exact_resume import ExactResume
from callbacks.run.graceful_stop import GracefulStop
from callbacks.run.model_selection import ModelSelection
from callbacks.run.prediction_table import PredictionTable
from callbacks.run.progress_bar import RunProgress
from callbacks.run.summary import RunSummary
from callbacks.run.throughput import Speed

__all__ = [
    "Analogies",
    "DecisionMap",
    "EmbeddingGeometry",
    "ExactResume",
    "FeatureGeometry",
    "Generalization",
    "GracefulStop",
    "ModelSelection",
    "NeuronAllocation",
    "Parallelograms",
    "PhaseDiagram",
    "PredictionTable",
    "Probe",
    "RunCheckpoint",
    "RunProgress",
    "RunSummary",
    "Speed",
    "TextSamples",
    "WeightImages",
    "WeightNorms",
    "WordCapacity",
    "WordDeletion",
]
