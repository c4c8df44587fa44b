"""Figures of the probes: pure functions from NumPy arrays to a matplotlib `Figure`.

Nothing here logs, writes files or imports Lightning. matplotlib is imported on the first call of a
function, not with this package, and pyplot is never imported: a figure is freed when its caller
drops it.

    figure = embedding_grid(coordinates, explained=explained, seeds=seeds, title="modular addition")
    figure.savefig("embedding.png")
"""

from glassbox.plots.accuracy import accuracy_curves
from glassbox.plots.allocation_circle import allocation_circle
from glassbox.plots.capacity_bars import capacity_bars
from glassbox.plots.colors import group_colors, model_colors
from glassbox.plots.decision_map import decision_maps
from glassbox.plots.deletion_curve import DeletionCurve, deletion_curve
from glassbox.plots.dimensionality import dimensionality_plot
from glassbox.plots.embedding import embedding_grid
from glassbox.plots.explained_variance import cumulative_explained_variance
from glassbox.plots.feature_vectors import feature_vectors
from glassbox.plots.first_features import first_features
from glassbox.plots.generalization import generalization_scatter
from glassbox.plots.gram_matrix import gram_matrix
from glassbox.plots.neuron_directions import neuron_directions
from glassbox.plots.norms_and_biases import norms_and_biases
from glassbox.plots.parallelogram_losses import parallelogram_distributions, parallelogram_scatter
from glassbox.plots.parallelograms import RankedParallelograms, ranked_parallelograms
from glassbox.plots.phase_diagram import phase_diagram_plot
from glassbox.plots.style import house_style, new_figure
from glassbox.plots.superposition_sheet import superposition_sheet
from glassbox.plots.weight_frames import weight_frames
from glassbox.plots.weight_images import weight_images
from glassbox.plots.weights_over_time import weights_over_time
from glassbox.plots.word_heatmap import word_heatmap

__all__ = [
    "DeletionCurve",
    "RankedParallelograms",
    "accuracy_curves",
    "allocation_circle",
    "capacity_bars",
    "cumulative_explained_variance",
    "decision_maps",
    "deletion_curve",
    "dimensionality_plot",
    "embedding_grid",
    "feature_vectors",
    "first_features",
    "generalization_scatter",
    "gram_matrix",
    "group_colors",
    "house_style",
    "model_colors",
    "neuron_directions",
    "new_figure",
    "norms_and_biases",
    "parallelogram_distributions",
    "parallelogram_scatter",
    "phase_diagram_plot",
    "ranked_parallelograms",
    "superposition_sheet",
    "weight_frames",
    "weight_images",
    "weights_over_time",
    "word_heatmap",
]
