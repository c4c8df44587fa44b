"""Weights as images: near zero at the border, and like the mean of their class."""

import numpy as np
import pytest
import torch

from glassbox.metrics import (
    border_pixels,
    mean_correlations,
    mean_cosines,
    near_zero_fraction,
    own_mean_fraction,
)


def numpy_loop(weights, means):
    """Cosines, correlations and both fractions of one model, class by class."""
    cosines, correlations, nearest, most_alike = [], [], [], []
    for label, weight in enumerate(weights):
        own = means[label]
        cosines.append(weight @ own / np.sqrt((weight @ weight) * (own @ own)))
        correlations.append(np.corrcoef(weight, own)[0, 1])
        nearest.append(np.argmin([np.sqrt(((weight - m) ** 2).sum()) for m in means]) == label)
        alike = [np.corrcoef(weight, m)[0, 1] for m in means]
        most_alike.append(np.argmax(alike) == label)
    return cosines, correlations, np.mean(nearest), np.mean(most_alike)


def test_border_of_mnist_excludes_the_inner_20_by_20_pixels():
    frame = border_pixels(28, 28).view(28, 28)
    assert frame.sum() == 28**2 - 20**2
    assert not frame[4:24, 4:24].any() and frame[3].all() and frame[:, 24].all()


def test_the_fraction_near_zero_counts_the_chosen_pixels_only():
    # The border of a 3 x 3 image is every pixel but the middle one.
    row = [0.0, 0.009, -0.009, 0.01, 0.0, -0.01, 1.0, -1.0, 5.0]
    weights = torch.tensor([row], dtype=torch.float64)
    assert near_zero_fraction(weights).item() == pytest.approx(4 / 9)
    assert near_zero_fraction(weights, border_pixels(3, 3, 1)).item() == pytest.approx(3 / 8)
    none = torch.zeros(9, dtype=torch.bool)
    assert near_zero_fraction(weights, none).isnan()


def test_similarity_agrees_with_a_loop_over_classes_and_seeds():
    rng = np.random.default_rng(0)
    means = rng.random((5, 12))
    weights = 0.6 * means + 0.3 * rng.normal(size=(3, 5, 12))
    values = [
        function(torch.from_numpy(weights), torch.from_numpy(means)).numpy()
        for function in (mean_cosines, mean_correlations, own_mean_fraction)
    ]
    alike = own_mean_fraction(torch.from_numpy(weights), torch.from_numpy(means), scale_free=True)
    loops = [numpy_loop(of_seed, means) for of_seed in weights]
    for seed, (cosines, correlations, nearest, most_alike) in enumerate(loops):
        assert values[0][seed] == pytest.approx(np.array(cosines))
        assert values[1][seed] == pytest.approx(np.array(correlations))
        assert values[2][seed] == pytest.approx(nearest)
        assert alike[seed] == pytest.approx(most_alike)
    assert 0 < np.mean([nearest for _, _, nearest, _ in loops]) < 1  # neither all nor none


def test_scale_changes_the_nearest_mean_but_not_the_most_correlated():
    means = torch.tensor([[4.0, 0.0, 0.0], [0.0, 0.1, 0.0]])
    weights = 0.1 * means  # the first is now nearer to the faint second mean
    assert own_mean_fraction(weights, means) == 0.5
    assert own_mean_fraction(weights, means, scale_free=True) == 1


def test_constant_images_have_no_similarity():
    means = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert mean_correlations(torch.full((2, 2), 0.3), means).tolist() == [0, 0]
    assert mean_cosines(torch.zeros(2, 2), means).tolist() == [0, 0]
    # No mean is strictly nearer than another.
    assert own_mean_fraction(torch.full((2, 2), 0.3), means, scale_free=True) == 0


def test_a_class_without_images_is_ignored():
    means = torch.tensor([[1.0, 0.0, 0.0], [torch.nan] * 3, [0.0, 0.0, 1.0]])
    weights = torch.tensor([[1.0, 0.0, 0.1], [1.0, 0.0, 0.0], [1.0, 0.0, 0.2]])
    assert mean_cosines(weights, means).isnan().tolist() == [False, True, False]
    assert own_mean_fraction(weights, means) == 0.5  # class 0 of classes 0 and 2
    assert own_mean_fraction(weights, torch.full((3, 3), torch.nan)).isnan()


def test_wrong_shapes_raise():
    with pytest.raises(ValueError, match="means"):
        mean_cosines(torch.ones(2, 3, 4), torch.ones(2, 4))
    with pytest.raises(ValueError, match="pixels"):
        near_zero_fraction(torch.ones(3, 4), torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="border"):
        border_pixels(4, 4, 0)
