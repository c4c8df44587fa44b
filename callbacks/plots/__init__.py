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
from callbacks.plots.deletion_curve import DeletionCurve, deletion_curve
from callbacks.plots.embedding import embedding_grid
from callbacks.plots.explained_variance import cumulative_explained_variance
from callbacks.plots.generalization import generalization_scatter
from callbacks.plots.grid_point import GridPoint
from callbacks.plots.loss_curves import LossCurve, loss_curves
from callbacks.plots.parallelogram_losses import (
    parallelogram_distributions,
    parallelogram_scatter,
)
from callbacks.plots.parallelograms import RankedParallelograms, ranked_parallelograms
from callbacks.plots.style import house_style, new_figure
from callbacks.plots.word_heatmap import word_heatmap

__all__ = [
    "DeletionCurve",
    "GridPoint",
    "LossCurve",
    "RankedParallelograms",
    "accuracy_curves",
    "allocation_circle",
    "capacity_bars",
    "cumulative_explained_variance",
    "deletion_curve",
    "embedding_grid",
    "generalization_scatter",
    "group_colors",
    "house_style",
    "loss_curves",
    "model_colors",
    "new_figure",
    "parallelogram_distributions",
    "parallelogram_scatter",
    "ranked_parallelograms",
    "word_heatmap",
]
