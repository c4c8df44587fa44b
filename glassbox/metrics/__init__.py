"""Interpretability metrics: plain functions from tensors to numbers.

Embeddings of many seeds are ``(..., V, E)``, one row per token, and a result has the leading
dimensions ``...``. Metrics are computed without gradients in float64 on the device of the input
(ranks in float32) and returned as float32 (float64 for float64 input). Points with a nan or an
infinity give nan and do not affect the other members of the batch, such as other seeds.

Weights of autoencoders are ``(..., N, H)``, one row per feature; leading dimensions are members
(seeds, sparsities, scales). The same rules hold.

Representations of padded texts are ``(..., T, D)`` with a mask ``(..., T)`` of the real tokens.
Padding is never read and gets 0; the precision is float32 or better.
"""

from glassbox.metrics._masked import check_percent
from glassbox.metrics.analogies import AnalogyScores, analogy_ranks, analogy_scores
from glassbox.metrics.bias_profile import BiasProfile, bias_profile
from glassbox.metrics.circle import circular_order, circularity
from glassbox.metrics.clusters import cluster_count, cluster_labels, cluster_tightness
from glassbox.metrics.compactness import class_compactness
from glassbox.metrics.cosets import best_coset, coset_silhouettes, null_best_coset
from glassbox.metrics.explained_variance import (
    Projection,
    cumulative_explained_variance,
    explained_variance,
    principal_components,
    project_vocabulary,
)
from glassbox.metrics.feature_directions import (
    basis_alignment,
    basis_sparsity,
    dimensions_per_feature,
    feature_count,
    feature_dimensionality,
    feature_interference,
    feature_norms,
    pair_cosine,
    priority_correlation,
    represented_features,
    top_priority_fraction,
)
from glassbox.metrics.grokking import first_sustained_epoch
from glassbox.metrics.lattice import lattice_deviation
from glassbox.metrics.parallelograms import (
    ParallelogramScores,
    draw_quadruples,
    draw_unrelated,
    parallelogram_losses,
    parallelogram_scores,
    ranked_quadruples,
)
from glassbox.metrics.quantiles import censored_quantile, quartiles
from glassbox.metrics.received_attention import received_attention
from glassbox.metrics.ring import (
    ring_correlation,
    ring_curvature,
    ring_neighbor_fraction,
    ring_turn,
)
from glassbox.metrics.s4 import Partition, coset_partitions, subgroups
from glassbox.metrics.silhouette import silhouette
from glassbox.metrics.superposition import capacity, interference, polysemanticity
from glassbox.metrics.tree import generation_one_dimensionality
from glassbox.metrics.two_features import (
    PhaseDiagramResult,
    agreement,
    phase_diagram,
    trained_phase,
    two_feature_loss,
    widest_gap,
)
from glassbox.metrics.weight_images import (
    border_pixels,
    mean_correlations,
    mean_cosines,
    near_zero_fraction,
    own_mean_fraction,
)
from glassbox.metrics.weights import center_alignment, center_distance, weight_norm
from glassbox.metrics.word_selection import important_words, top_words, without_words, word_scores

__all__ = [
    "AnalogyScores",
    "BiasProfile",
    "ParallelogramScores",
    "Partition",
    "PhaseDiagramResult",
    "Projection",
    "agreement",
    "analogy_ranks",
    "analogy_scores",
    "basis_alignment",
    "basis_sparsity",
    "best_coset",
    "bias_profile",
    "border_pixels",
    "capacity",
    "censored_quantile",
    "center_alignment",
    "center_distance",
    "check_percent",
    "circular_order",
    "circularity",
    "class_compactness",
    "cluster_count",
    "cluster_labels",
    "cluster_tightness",
    "coset_partitions",
    "coset_silhouettes",
    "cumulative_explained_variance",
    "dimensions_per_feature",
    "draw_quadruples",
    "draw_unrelated",
    "explained_variance",
    "feature_count",
    "feature_dimensionality",
    "feature_interference",
    "feature_norms",
    "first_sustained_epoch",
    "generation_one_dimensionality",
    "important_words",
    "interference",
    "lattice_deviation",
    "mean_correlations",
    "mean_cosines",
    "near_zero_fraction",
    "null_best_coset",
    "own_mean_fraction",
    "pair_cosine",
    "parallelogram_losses",
    "parallelogram_scores",
    "phase_diagram",
    "polysemanticity",
    "principal_components",
    "priority_correlation",
    "project_vocabulary",
    "quartiles",
    "ranked_quadruples",
    "received_attention",
    "represented_features",
    "ring_correlation",
    "ring_curvature",
    "ring_neighbor_fraction",
    "ring_turn",
    "silhouette",
    "subgroups",
    "top_priority_fraction",
    "top_words",
    "trained_phase",
    "two_feature_loss",
    "weight_norm",
    "widest_gap",
    "without_words",
    "word_scores",
]
