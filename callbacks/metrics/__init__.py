"""Interpretability metrics: plain functions from tensors to numbers, and exact sums of them.

For embeddings, many seeds at once: points are ``(..., V, E)``, one row a token, and a result has
the leading dimensions ``...``. All work is done without gradients in float64 on the device of the
input (ranks in float32); results come back as float32 (float64 for float64 input). A cloud with a
nan or an infinity gives nan and leaves its neighbours in the batch alone, so one diverged seed does
not cost the other nineteen.

For the weights of autoencoders: ``(..., N, H)``, one row a feature, leading dimensions members
(seeds, sparsities, scales). The same rules hold.

For padded texts: representations are ``(..., T, D)`` with a mask ``(..., T)`` of the real tokens.
Padding is never read and gets 0; work is done in float32 or better. What is averaged over a data
set is a ``torchmetrics.Metric`` of sums, the same over any split into batches and ranks.
"""

from callbacks.metrics._masked import check_percent
from callbacks.metrics.analogies import AnalogyScores, analogy_ranks, analogy_scores
from callbacks.metrics.bias_profile import BiasProfile, bias_profile
from callbacks.metrics.circle import circular_order, circularity
from callbacks.metrics.clusters import cluster_count, cluster_labels, cluster_tightness
from callbacks.metrics.compactness import class_compactness
from callbacks.metrics.cosets import best_coset, coset_silhouettes, null_best_coset
from callbacks.metrics.deletion_accuracy import DeletionAccuracy
from callbacks.metrics.explained_share import explained_share
from callbacks.metrics.explained_variance import (
    Projection,
    cumulative_explained_variance,
    explained_variance,
    principal_components,
    project_vocabulary,
)
from callbacks.metrics.feature_directions import (
    basis_alignment,
    basis_sparsity,
    dimensions_per_feature,
    feature_count,
    feature_dimensionality,
    feature_interference,
    feature_norms,
    represented_features,
)
from callbacks.metrics.feature_pairs import pair_cosine
from callbacks.metrics.feature_priority import most_important_share, priority_correlation
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
from callbacks.metrics.phase_diagram import PhaseDiagram, phase_diagram, trained_phase, widest_gap
from callbacks.metrics.received_attention import received_attention
from callbacks.metrics.ring import ring_correlation, ring_curvature, ring_neighbor_share, ring_turn
from callbacks.metrics.s4 import Partition, coset_partitions, subgroups
from callbacks.metrics.silhouette import silhouette
from callbacks.metrics.superposition import capacity, interference, polysemanticity
from callbacks.metrics.superposition_regularization_score import SuperpositionRegularizationScore
from callbacks.metrics.tree import generation_one_dimensionality
from callbacks.metrics.two_feature_loss import two_feature_loss
from callbacks.metrics.weight_images import (
    border_pixels,
    mean_correlations,
    mean_cosines,
    near_zero_share,
    own_mean_share,
)
from callbacks.metrics.weights import center_alignment, center_distance, weight_norm
from callbacks.metrics.word_deletion import top_words, without_words, word_scores

__all__ = sorted(n for n, v in vars().items() if getattr(v, "__module__", "").startswith(__name__))
