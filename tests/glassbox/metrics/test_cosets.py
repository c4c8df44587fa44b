import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from glassbox.metrics import (
    best_coset,
    coset_partitions,
    coset_silhouettes,
    null_best_coset,
    subgroups,
)
from tests.helpers.noise import noise

PERMUTATIONS = list(itertools.permutations(range(4)))
MATRICES = np.array([np.eye(4, dtype=int)[list(permutation)].T for permutation in PERMUTATIONS])


def _product(x: int, y: int) -> int:
    """x * y by permutation matrices (column j of M(x) is the unit vector x[j])."""
    product = MATRICES[x] @ MATRICES[y]
    return int(np.flatnonzero((product == MATRICES).all(axis=(1, 2)))[0])


TABLE = np.array([[_product(x, y) for y in range(24)] for x in range(24)])


def _order(x: int) -> int:
    power, order = x, 1
    while power != 0:
        power, order = TABLE[power, x], order + 1
    return order


def _profile(elements: tuple[int, ...]) -> tuple[int, ...]:
    """Orders of the elements, sorted: tells the isomorphism types of S4's subgroups apart."""
    return tuple(sorted(_order(x) for x in elements))


TYPES = {
    (1,): "trivial",
    (1, 2): "C2",
    (1, 3, 3): "C3",
    (1, 2, 4, 4): "C4",
    (1, 2, 2, 2): "V4",
    (1, 2, 2, 2, 3, 3): "S3",
    (1, 2, 2, 2, 2, 2, 4, 4): "D4",
    (1, 2, 2, 2, *[3] * 8): "A4",
    (1, *[2] * 9, *[3] * 8, *[4] * 6): "S4",
}


def _is_normal(elements: tuple[int, ...]) -> bool:
    inverse = TABLE.argmin(axis=1)
    return all(TABLE[TABLE[g, h], inverse[g]] in elements for g in range(24) for h in elements)


def test_s4_has_its_thirty_subgroups():
    counts = Counter(TYPES[_profile(elements)] for elements in subgroups())
    expected = {"C2": 9, "C3": 4, "C4": 3, "V4": 4, "S3": 4, "D4": 3, "A4": 1}
    assert counts == {"trivial": 1, "S4": 1, **expected}
    assert len(set(subgroups())) == 30


def test_partitions_have_the_types_of_their_subgroups():
    partitions = coset_partitions()
    assert len({p.labels for p in partitions}) == len({p.name for p in partitions}) == 54
    for partition in partitions:
        assert partition.subgroup.split()[0] == TYPES[_profile(partition.elements)]
        assert partition.name.split()[0].strip(",") == TYPES[_profile(partition.elements)]
        assert (partition.side == "both") == _is_normal(partition.elements)
    kinds = Counter(p.subgroup for p in partitions if p.side != "right")
    assert (kinds["V4 normal"], kinds["V4 non-normal"]) == (1, 3)
    assert (kinds["C2 (transposition)"], kinds["C2 (double transposition)"]) == (6, 3)


def test_blocks_are_left_or_right_cosets():
    for partition in coset_partitions():
        labels, elements = np.array(partition.labels), list(partition.elements)
        sizes = np.bincount(labels)
        assert len(labels) == 24
        assert (sizes == len(elements)).all()
        for g in range(24):
            block = set(np.flatnonzero(labels == labels[g]))
            if partition.side in ("left", "both"):
                assert block == set(TABLE[g, elements])
            if partition.side in ("right", "both"):
                assert block == set(TABLE[elements, g])


@pytest.mark.parametrize("num_components", [2, None])
def test_scores_agree_with_sklearn_one_by_one(num_components):
    clouds = noise(2, 24, 16)
    scores = coset_silhouettes(clouds, num_components)
    assert scores.shape == (2, 54)
    for seed in range(2):
        cloud = clouds[seed].numpy()
        seen = cloud if num_components is None else PCA(num_components).fit_transform(cloud)
        expected = [silhouette_score(seen, p.labels) for p in coset_partitions()]
        np.testing.assert_allclose(scores[seed], expected, atol=1e-7)


@pytest.mark.parametrize("kind", ["V4 normal", "V4 non-normal", "S3", "D4", "C4"])
def test_planted_clusters_are_recovered_in_every_seed(kind):
    planted = [i for i, p in enumerate(coset_partitions()) if p.subgroup == kind]
    centers = noise(24, 16)
    clouds = torch.stack([centers[list(coset_partitions()[i].labels)] for i in planted])
    clouds = clouds + 1e-3 * noise(len(planted), 24, 16)
    score, index = best_coset(clouds)
    assert index.tolist() == planted
    assert (score > 0.9).all()


def test_other_groups_raise():
    with pytest.raises(ValueError, match="S4"):
        coset_silhouettes(noise(6, 16))


def test_null_is_the_best_coset_of_gaussian_embeddings():
    # More than one internal batch.
    generator = torch.Generator().manual_seed(5)
    clouds = torch.randn(300, 24, 16, generator=generator)
    torch.testing.assert_close(null_best_coset(300, seed=5), best_coset(clouds)[0])


def test_quantiles_of_the_null():
    null = null_best_coset(2000)
    assert null.shape == (2000,)
    assert float(null.mean()) == pytest.approx(0.006, abs=0.004)
    assert float(null.std()) == pytest.approx(0.038, abs=0.002)
    assert float(null.quantile(0.95)) == pytest.approx(0.081, abs=0.008)
    assert float(null.quantile(0.99)) == pytest.approx(0.122, abs=0.015)


@pytest.mark.parametrize("options", [{"draws": 0}, {"dimension": 1}])
def test_too_few_draws_or_dimensions_raise(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        null_best_coset(**options)
