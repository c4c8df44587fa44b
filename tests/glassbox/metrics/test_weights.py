import numpy as np
import pytest
import torch

from glassbox.metrics import center_alignment, center_distance, weight_norm
from tests.helpers.noise import noise

TARGETS = torch.arange(50) % 5


def _loop_alignment(features: np.ndarray, targets: np.ndarray, centers: np.ndarray) -> float:
    classes = np.unique(targets)
    means = np.stack([features[targets == c].mean(0) for c in classes])
    means = means - means.mean(0)
    rows = centers[classes] - centers[classes].mean(0)
    norms = np.linalg.norm(means, axis=1) * np.linalg.norm(rows, axis=1)
    return float(((means * rows).sum(1) / norms).mean())


def _loop_distance(features: np.ndarray, targets: np.ndarray, centers: np.ndarray) -> float:
    own = np.mean([np.linalg.norm(f - centers[t]) for f, t in zip(features, targets, strict=True)])
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(centers) for b in centers[:i]]
    return float(own / np.mean(pairs))


def test_norm_matches_numpy():
    weights = noise(2, 3, 7, 4)
    expected = [[np.linalg.norm(matrix) for matrix in row] for row in weights.numpy()]
    np.testing.assert_allclose(weight_norm(weights), expected)


def test_both_measures_agree_with_loops_for_every_seed():
    features, centers = noise(2, 3, 50, 8), noise(2, 3, 6, 8, seed=1)
    targets = torch.randint(0, 6, (2, 3, 50), generator=torch.Generator().manual_seed(2))
    targets[0, 0] = targets[0, 0] % 3  # a seed in which some classes do not occur
    alignment = center_alignment(features, targets, centers)
    distance = center_distance(features, targets, centers)
    assert alignment.shape == distance.shape == (2, 3)
    for i in np.ndindex(2, 3):
        case = features[i].numpy(), targets[i].numpy(), centers[i].numpy()
        assert alignment[i] == pytest.approx(_loop_alignment(*case), abs=1e-12)
        assert distance[i] == pytest.approx(_loop_distance(*case), abs=1e-12)


def test_alignment_ignores_scale_and_shift_but_distance_does_not():
    centers = noise(5, 8)
    features = 100 * centers[TARGETS] + 7
    assert center_alignment(features, TARGETS, centers) == pytest.approx(1)
    assert center_distance(features, TARGETS, centers) > 10


def test_distance_is_in_units_of_the_spacing_of_the_centers():
    centers = torch.tensor([[0.0, 0.0], [4.0, 0.0]])
    features = torch.tensor([[0.0, 1.0], [4.0, 3.0]])
    assert center_distance(features, torch.tensor([0, 1]), centers) == 0.5


def test_a_class_at_the_common_mean_counts_zero():
    centers = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    targets = torch.arange(3)
    assert center_alignment(centers, targets, centers) == pytest.approx(2 / 3)


def test_one_class_has_no_alignment():
    features, centers = noise(2, 10, 8), noise(2, 5, 8, seed=1)
    targets = torch.stack((torch.full((10,), 3), torch.arange(10) % 5))
    assert center_alignment(features, targets, centers).isnan().tolist() == [True, False]


@pytest.mark.parametrize("metric", [center_alignment, center_distance])
@pytest.mark.parametrize(
    ("targets", "centers", "argument"),
    [
        (torch.full((4,), 5), torch.zeros(5, 8), "targets"),
        (torch.tensor([-1, 0, 1, 2]), torch.zeros(5, 8), "targets"),
        (torch.zeros(3, dtype=torch.long), torch.zeros(5, 8), "targets"),
        (torch.zeros(4), torch.zeros(5, 8), "targets"),
        (torch.zeros(4, dtype=torch.long), torch.zeros(5, 7), "centers"),
        (torch.zeros(4, dtype=torch.long), torch.zeros(1, 8), "centers"),
    ],
)
def test_arguments_of_wrong_shape_or_range_raise(metric, targets, centers, argument):
    with pytest.raises(ValueError, match=argument):
        metric(torch.zeros(4, 8), targets, centers)
