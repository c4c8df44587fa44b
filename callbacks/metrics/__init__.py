"""Interpretability metrics: plain functions from tensors to numbers, for many seeds at once.

Points are ``(..., V, E)``, one row a token, and a result has the leading dimensions ``...``. All
work is done without gradients in float64 on the device of the input (ranks in float32); results
come back as float32 (float64 for float64 input). A cloud with a nan or an infinity gives nan and
leaves its neighbours in the batch alone, so one diverged seed does not cost the other nineteen.
"""

from callbacks.metrics.analogies import AnalogyScores, analogy_ranks, analogy_scores
from callbacks.metrics.circle import circular_order, circularity
from callbacks.metrics.compactness import class_compactness
from callbacks.metrics.cosets import best_coset, coset_silhouettes, null_best_coset
from callbacks.metrics.explained_variance import (
    Projection,
    cumulative_explained_variance,
    explained_variance,
    principal_components,
    project_vocabulary,
)
from callbacks.metrics.grokking import first_sustained_epoch
from callbacks.metrics.lattice import lattice_deviation
from callbacks.metrics.parallelograms import (
    ParallelogramScores,
    draw_quadruples,
    draw_unrelated,
    parallelogram_losses,
    parallelogram_scores,
    ranked_quadruples,
)
from callbacks.metrics.s4 import Partition, coset_partitions, subgroups
from callbacks.metrics.silhouette import silhouette
from callbacks.metrics.tree import generation_one_dimensionality
from callbacks.metrics.weights import center_alignment, center_distance, weight_norm

__all__ = [
    "AnalogyScores",
    "ParallelogramScores",
    "Partition",
    "Projection",
    "analogy_ranks",
    "analogy_scores",
    "best_coset",
    "center_alignment",
    "center_distance",
    "circular_order",
    "circularity",
    "class_compactness",
    "coset_partitions",
    "coset_silhouettes",
    "cumulative_explained_variance",
    "draw_quadruples",
    "draw_unrelated",
    "explained_variance",
    "first_sustained_epoch",
    "generation_one_dimensionality",
    "lattice_deviation",
    "null_best_coset",
    "parallelogram_losses",
    "parallelogram_scores",
    "principal_components",
    "project_vocabulary",
    "ranked_quadruples",
    "silhouette",
    "subgroups",
    "weight_norm",
]
