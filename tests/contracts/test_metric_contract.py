"""Every metric of points or weights: members alone, diverged members, dtypes, gradients, errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from glassbox import metrics

LABELS = torch.arange(20) % 4
CENTERS = torch.randn(4, 6, generator=torch.Generator().manual_seed(1)).double()
MEANS = torch.rand(5, 8, generator=torch.Generator().manual_seed(2)).double()


class Metric(NamedTuple):
    """A function of one tensor, and the last two dimensions it is tried with."""

    of: Callable[[Tensor], Tensor]
    shape: tuple[int, int]
    argument: str = "weights"


METRICS = {
    "explained_variance": Metric(metrics.explained_variance, (20, 6), "points"),
    "cumulative": Metric(metrics.cumulative_explained_variance, (20, 6), "points"),
    "principal_components": Metric(metrics.principal_components, (20, 6), "points"),
    "coordinates": Metric(lambda x: metrics.project_vocabulary(x).coordinates, (20, 6), "points"),
    "scale": Metric(lambda x: metrics.project_vocabulary(x, None).scale, (20, 6), "points"),
    "circularity": Metric(metrics.circularity, (20, 6), "points"),
    "circular_order": Metric(lambda x: metrics.circular_order(x)[0], (20, 6), "points"),
    "class_compactness": Metric(lambda x: metrics.class_compactness(x, LABELS), (20, 6), "points"),
    "silhouette": Metric(lambda x: metrics.silhouette(x, LABELS), (20, 6), "points"),
    "lattice": Metric(lambda x: metrics.lattice_deviation(x, 4), (16, 6), "points"),
    "tree": Metric(
        lambda x: metrics.generation_one_dimensionality(x, torch.arange(20) // 10),
        (20, 6),
        "points",
    ),
    "coset_silhouettes": Metric(metrics.coset_silhouettes, (24, 6), "points"),
    "best_coset": Metric(lambda x: metrics.best_coset(x)[0], (24, 6), "points"),
    "center_alignment": Metric(
        lambda x: metrics.center_alignment(x, LABELS, CENTERS.to(x)), (20, 6), "features"
    ),
    "center_distance": Metric(
        lambda x: metrics.center_distance(x, LABELS, CENTERS.to(x)), (20, 6), "features"
    ),
    "mean_cosines": Metric(lambda x: metrics.mean_cosines(x, MEANS), (5, 8)),
    "mean_correlations": Metric(lambda x: metrics.mean_correlations(x, MEANS), (5, 8)),
    "own_mean_fraction": Metric(lambda x: metrics.own_mean_fraction(x, MEANS), (5, 8)),
    "near_zero_fraction": Metric(metrics.near_zero_fraction, (5, 8)),
    "weight_norm": Metric(metrics.weight_norm, (5, 8)),
    "feature_norms": Metric(metrics.feature_norms, (8, 4)),
    "represented_features": Metric(metrics.represented_features, (8, 4)),
    "feature_count": Metric(metrics.feature_count, (8, 4)),
    "dimensions_per_feature": Metric(metrics.dimensions_per_feature, (8, 4)),
    "feature_interference": Metric(metrics.feature_interference, (8, 4)),
    "feature_dimensionality": Metric(metrics.feature_dimensionality, (8, 4)),
    "basis_alignment": Metric(metrics.basis_alignment, (8, 4)),
    "basis_sparsity": Metric(metrics.basis_sparsity, (8, 4)),
    "pair_cosine": Metric(metrics.pair_cosine, (8, 4)),
    "cluster_count": Metric(lambda x: metrics.cluster_count(x, 0.4), (20, 3)),
    "cluster_tightness": Metric(metrics.cluster_tightness, (20, 3)),
    "ring_neighbor_fraction": Metric(metrics.ring_neighbor_fraction, (20, 3)),
    "ring_correlation": Metric(metrics.ring_correlation, (20, 3)),
    "ring_turn": Metric(metrics.ring_turn, (20, 3)),
    "ring_curvature": Metric(metrics.ring_curvature, (20, 3)),
}


def members(metric: Metric, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, *metric.shape, generator=generator).to(dtype)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_members_are_independent_and_a_diverged_member_is_nan(metric, bad):
    weights = members(metric)
    weights[0, 1, 2, 1] = bad
    result = metric.of(weights)
    assert result.shape[:2] == (2, 3)
    for index in torch.cartesian_prod(torch.arange(2), torch.arange(3)).tolist():
        member = result[tuple(index)]
        if index == [0, 1]:
            assert member.isnan().all()
        else:
            torch.testing.assert_close(member, metric.of(weights[tuple(index)]))
            assert member.isfinite().all()


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_results_are_float32_unless_the_input_is_float64_and_have_no_gradient(metric):
    for given, returned in (
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
    ):
        result = metric.of(members(metric, given).requires_grad_())
        assert result.dtype == returned and not result.requires_grad


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize(
    "wrong", [torch.ones(9), torch.zeros(0, 4), torch.ones(24, 6, dtype=torch.int64)]
)
def test_input_that_is_not_a_float_matrix_raises(metric, wrong):
    with pytest.raises(ValueError, match=metric.argument):
        metric.of(wrong)


def test_only_torch_and_the_standard_library_are_imported():
    # In a process of its own, since other tests have imported scikit-learn and Lightning.
    script = (
        "import sys, torch\n"
        "before = set(sys.modules)\n"
        "import glassbox.metrics\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - sys.stdlib_module_names - {'glassbox', 'torch'}))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
