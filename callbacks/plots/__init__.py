"""Figures of the probes: pure functions from NumPy arrays to a matplotlib `Figure`.

Nothing here logs, writes files or knows about Lightning. matplotlib is imported on the first call
of a function, not with this package, and pyplot never: a figure is freed when its caller drops it.

    figure = embedding_grid(coordinates, explained=explained, seeds=seeds, title="modular addition")
    figure.savefig("embedding.png")
"""

from callbacks.plots.accuracy import accuracy_curves
from callbacks.plots.allocation_circle import allocation_circle
from callbacks.plots.capacity_bars import capacity_bars
from callbacks.plots.colors import group_colors, model_colors
from callbacks.plots.decision_map import decision_maps
from callbacks.plots.deletion_curve import DeletionCurve, deletion_curve
from callbacks.plots.dimensionality_plot import dimensionality_plot
from callbacks.plots.embedding import embedding_grid
from callbacks.plots.explained_variance import cumulative_explained_variance
from callbacks.plots.feature_vectors import feature_vectors
from callbacks.plots.first_features import first_features
from callbacks.plots.generalization import generalization_scatter
from callbacks.plots.gram_matrix import gram_matrix
from callbacks.plots.grid_point import GridPoint
from callbacks.plots.loss_curves import LossCurve, loss_curves
from callbacks.plots.neuron_directions import neuron_directions
from callbacks.plots.norms_and_biases import norms_and_biases
from callbacks.plots.parallelogram_losses import parallelogram_distributions, parallelogram_scatter
from callbacks.plots.parallelograms import RankedParallelograms, ranked_parallelograms
from callbacks.plots.phase_diagram_plot import phase_diagram_plot
from callbacks.plots.style import house_style, new_figure
from callbacks.plots.superposition_sheet import superposition_sheet
from callbacks.plots.weight_frames import weight_frames
from callbacks.plots.weight_images import weight_images
from callbacks.plots.weights_over_time import weights_over_time
from callbacks.plots.word_heatmap import word_heatmap

__all__ = sorted(n for n, v in vars().items() if getattr(v, "__module__", "").startswith(__name__))
