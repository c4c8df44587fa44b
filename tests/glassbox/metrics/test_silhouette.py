import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score

from glassbox.metrics import silhouette


def _random_case(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Small clouds with few points a cluster, so that singletons and gaps in the labels occur."""
    rng = np.random.default_rng(seed)
    num_points = int(rng.integers(4, 30))
    num_labels = int(rng.integers(2, num_points))
    labels = rng.integers(0, num_labels, num_points)
    labels[:3] = 0, 0, 1  # at least two clusters, and at most one fewer than there are points
    labels = 3 * labels - 7
    centers = rng.normal(size=(num_points, 5))[labels % num_points]
    points = rng.normal(size=(num_points, 5)) + rng.uniform(0, 4) * centers
    return torch.from_numpy(points), torch.from_numpy(labels)


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_sklearn(seed):
    points, labels = _random_case(seed)
    expected = silhouette_score(points.numpy(), labels.numpy())
    assert silhouette(points, labels) == pytest.approx(expected, abs=1e-7)


def test_batches_of_labelings_and_clouds_agree_with_sklearn():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(3, 1, 12, 4, generator=generator, dtype=torch.float64)
    # Labellings with different numbers of labels, one of them with a singleton.
    labels = torch.stack(
        (
            torch.arange(12) % 2,
            torch.arange(12) // 2,
            (torch.arange(12) == 5).long(),
            -(torch.arange(12) ** 2 % 5),
        )
    )
    scores = silhouette(points, labels)
    assert scores.shape == (3, 4)
    for cloud, partition in np.ndindex(3, 4):
        expected = silhouette_score(points[cloud, 0].numpy(), labels[partition].numpy())
        assert scores[cloud, partition] == pytest.approx(expected, abs=1e-7)


def test_coinciding_points_score_zero():
    assert silhouette(torch.full((6, 2), 0.1), torch.arange(6) % 2) == 0


@pytest.mark.parametrize("labels", [torch.zeros(6, dtype=torch.long), torch.arange(6)])
def test_labelings_of_one_label_or_only_singletons_raise(labels):
    good = torch.arange(6) % 2
    with pytest.raises(ValueError, match="labels"):
        silhouette(torch.zeros(6, 2), torch.stack((good, labels)))


def test_labels_of_wrong_shape_or_dtype_raise():
    with pytest.raises(ValueError, match="labels"):
        silhouette(torch.zeros(6, 2), torch.arange(5) % 2)
    with pytest.raises(ValueError, match="labels"):
        silhouette(torch.zeros(6, 2), torch.zeros(6))
