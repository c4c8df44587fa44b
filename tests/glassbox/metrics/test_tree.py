import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from glassbox.metrics import generation_one_dimensionality
from tests.helpers.noise import noise

# Heap numbering as in the genealogy data: node i has parent i // 2.
GENERATIONS = torch.tensor([i.bit_length() - 1 for i in range(1, 127)])


def _sklearn_reference(points: np.ndarray, generations: np.ndarray) -> float:
    plane = PCA(2).fit_transform(points)
    fractions = []
    for generation in np.unique(generations):
        members = plane[generations == generation]
        if len(members) >= 5:
            fractions.append(PCA().fit(members).explained_variance_ratio_[0])
    return 1 - np.mean(fractions)


def test_agrees_with_nested_sklearn_pca_for_every_seed():
    clouds = noise(2, 3, 126, 16)
    metric = generation_one_dimensionality(clouds, GENERATIONS)
    assert metric.shape == (2, 3)
    for index in np.ndindex(2, 3):
        expected = _sklearn_reference(clouds[index].numpy(), GENERATIONS.numpy())
        assert metric[index] == pytest.approx(expected, abs=1e-10)


def test_generations_below_five_nodes_do_not_count():
    big, small = noise(2, 8, 2).unbind(0)
    both = torch.cat((big, 5 + small[:4]))
    flat_small = torch.cat((big, 5 + small[:4] * torch.tensor([1.0, 0.0])))
    generations = torch.tensor([7] * 8 + [3] * 4)  # neither contiguous nor from zero
    # The plane of two features is all of space, so the large one scores as it would alone.
    alone = generation_one_dimensionality(big, generations[:8])
    for cloud in (both, flat_small):
        torch.testing.assert_close(generation_one_dimensionality(cloud, generations), alone)


def test_collapsed_generations_are_left_out():
    points = noise(20, 2)
    generations = torch.arange(20) // 10
    alone = generation_one_dimensionality(points[:10], generations[:10])
    points[10:] = points[10]
    torch.testing.assert_close(generation_one_dimensionality(points, generations), alone)
    points[:10] = points[0]
    assert generation_one_dimensionality(points, generations).isnan()


def test_tree_of_small_generations_raises():
    with pytest.raises(ValueError, match="generations"):
        generation_one_dimensionality(noise(7, 3), GENERATIONS[:7])


@pytest.mark.parametrize(
    "generations",
    [
        torch.zeros(6, dtype=torch.long),
        torch.zeros(1, 7, dtype=torch.long),
        torch.zeros(7),
    ],
)
def test_generations_of_wrong_shape_or_dtype_raise(generations):
    with pytest.raises(ValueError, match="generations"):
        generation_one_dimensionality(noise(7, 3), generations)
