"""Interpretability metrics: plain functions from tensors to numbers, and exact sums of them.

For embeddings, many seeds at once: points are ``(..., V, E)``, one row a token, and a result has
the leading dimensions ``...``. All work is done without gradients in float64 on the device of the
input (ranks in float32); results come back as float32 (float64 for float64 input). A cloud with a
nan or an infinity gives nan and leaves its neighbours in the batch alone, so one diverged seed does
not cost the other nineteen.

For padded texts: representations are ``(..., T, D)`` with a mask ``(..., T)`` of the real tokens.
Padding is never read and gets 0; work is done in float32 or better. What is averaged over a data
set is a ``torchmetrics.Metric`` of sums, the same over any split into batches and ranks.
"""

from callbacks.metrics._masked import check_percent
from callbacks.metrics.analogies import AnalogyScores, analogy_ranks, analogy_scores
from callbacks.metrics.circle import circular_order, circularity
from callbacks.metrics.compactness import class_compactness
from callbacks.metrics.cosets import best_coset, coset_silhouettes, null_best_coset
from callbacks.metrics.deletion_accuracy import DeletionAccuracy
from callbacks.metrics.explained_variance import (
    Projection,
    cumulative_explained_variance,
    explained_variance,
    principal_components,
    project_vocabulary,
)
from callbacks.metrics.grokking import first_sustained_epoch
from callbacks.metrics.important_words import important_words
from callbacks.metrics.lattice import lattice_deviation
from callbacks.metrics.mean_capacity import MeanCapacity
from callbacks.metrics.parallelograms import (
    ParallelogramScores,
    draw_quadruples,
    draw_unrelated,
    parallelogram_losses,
    parallelogram_scores,
    ranked_quadruples,
)
from callbacks.metrics.received_attention import received_attention
from callbacks.metrics.s4 import Partition, coset_partitions, subgroups
from callbacks.metrics.silhouette import silhouette
from callbacks.metrics.superposition import capacity, interference, polysemanticity
from callbacks.metrics.superposition_regularization_score import SuperpositionRegularizationScore
from callbacks.metrics.tree import generation_one_dimensionality
from callbacks.metrics.weights import center_alignment, center_distance, weight_norm
from callbacks.metrics.word_deletion import top_words, without_words, word_scores

__all__ = [
    "AnalogyScores",
    "DeletionAccuracy",
    "MeanCapacity",
    "ParallelogramScores",
    "Partition",
    "Projection",
    "SuperpositionRegularizationScore",
    "analogy_ranks",
    "analogy_scores",
    "best_coset",
    "capacity",
    "center_alignment",
    "center_distance",
    "check_percent",
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
    "important_words",
    "interference",
    "lattice_deviation",
    "null_best_coset",
    "parallelogram_losses",
    "parallelogram_scores",
    "polysemanticity",
    "principal_components",
    "project_vocabulary",
    "ranked_quadruples",
    "received_attention",
    "silhouette",
    "subgroups",
    "top_words",
    "weight_norm",
    "without_words",
    "word_scores",
]
