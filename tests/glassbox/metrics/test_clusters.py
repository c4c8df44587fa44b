"""Clusters of rows, against SciPy's single linkage and at planted clusters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform
from torch import Tensor

from glassbox.metrics import cluster_count, cluster_labels, cluster_tightness
from tests.helpers.noise import noise


def _ring(rows: int) -> Tensor:
    angle = 2 * torch.pi * torch.arange(rows, dtype=torch.float64) / rows
    return torch.stack([angle.cos(), angle.sin(), 0 * angle], dim=-1)


def _same_partition(ours: list[int], theirs: list[int]) -> bool:
    return len(set(ours)) == len(set(theirs)) == len(set(zip(ours, theirs, strict=True)))


@pytest.mark.parametrize("reach", [0.1, 0.5])
def test_labels_are_scipys_single_linkage_for_every_member(reach):
    weights = noise(2, 3, 60, 3)
    labels = cluster_labels(weights, reach)
    counts = []
    for index in np.ndindex(2, 3):
        rows = weights[index].numpy()
        cut = reach * np.linalg.norm(rows, axis=1).mean()
        expected = fcluster(linkage(rows, "single"), cut, "distance")
        assert _same_partition(labels[index].tolist(), expected.tolist())
        counts.append(expected.max())
    assert cluster_count(weights, reach).flatten().tolist() == counts
    assert max(counts) > 1 and min(counts) < 60


def test_clusters_are_numbered_in_the_order_of_their_first_rows():
    corner = torch.eye(3)[[2, 0, 2, 1, 0, 2]]
    assert cluster_labels(corner).tolist() == [0, 1, 0, 2, 1, 0]


@pytest.mark.parametrize("clusters", [1, 4, 12])
def test_planted_clusters_at_any_scale(clusters):
    middle = _ring(clusters).repeat(7, 1)
    weights = middle + 1e-3 * noise(7 * clusters, 3)
    for scale in (1e-6, 1.0, 1e6):
        assert cluster_count(scale * weights) == clusters
        assert cluster_tightness(scale * weights) < 3e-3
    assert cluster_labels(weights).tolist() == list(range(clusters)) * 7


@pytest.mark.parametrize("shuffled", [False, True])
def test_chain_is_one_cluster(shuffled):
    steps = torch.arange(200, dtype=torch.float64)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    chain = torch.stack([torch.full_like(steps, 1e3), steps], dim=-1)
    chain = chain[order] if shuffled else chain
    reach = 1.001 / chain.norm(dim=-1).mean().item()
    assert cluster_count(chain, reach) == 1
    assert cluster_count(chain, 0.99 * reach) == 200


def test_tightness_is_the_median_nearest_distance_over_the_mean_norm():
    weights = noise(2, 9, 4)
    for member, result in zip(weights, cluster_tightness(weights), strict=True):
        apart = squareform(pdist(member.numpy())) + np.diag([np.inf] * 9)
        norm = np.linalg.norm(member.numpy(), axis=1).mean()
        assert result.item() == pytest.approx(np.median(apart.min(axis=0)) / norm, rel=1e-12)
    assert cluster_tightness(torch.eye(4)).item() == pytest.approx(math.sqrt(2))
    assert cluster_tightness(torch.tensor([[50.0], [-50.0]])) == 2


def test_equal_rows_are_one_tight_cluster_and_zero_rows_have_no_scale():
    assert cluster_count(torch.ones(5, 3), 0.0) == 1
    assert cluster_tightness(torch.ones(5, 3)) == 0
    assert cluster_count(torch.zeros(5, 3)) == 1
    assert cluster_tightness(torch.zeros(5, 3)).isnan()


def test_single_rows_and_negative_distances_raise():
    with pytest.raises(ValueError, match="cluster_tightness"):
        cluster_tightness(torch.ones(1, 3))
    for measure in (cluster_labels, cluster_count):
        with pytest.raises(ValueError, match="cluster_distance"):
            measure(torch.ones(4, 3), -0.1)
