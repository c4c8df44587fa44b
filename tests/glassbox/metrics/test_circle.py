import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from glassbox.metrics import circular_order, circularity
from tests.helpers.noise import noise


def _circle(p: int, frequency: int, *, dim: int = 16, seed: int = 0) -> torch.Tensor:
    """p tokens on a circle in a random plane of a space of ``dim`` dimensions, off the origin."""
    rng = np.random.default_rng(seed)
    plane, _ = np.linalg.qr(rng.normal(size=(dim, 2)))
    angle = 2 * np.pi * frequency * np.arange(p) / p + rng.uniform(0, 2 * np.pi)
    return torch.from_numpy(np.stack([np.cos(angle), np.sin(angle)], 1) @ plane.T + rng.normal())


def _numpy_circularity(points: np.ndarray) -> float:
    plane = PCA(2).fit_transform(points)
    plane = (plane - plane.min(0)) / (plane.max(0) - plane.min(0))
    radii = np.linalg.norm(plane - plane.mean(0), axis=1)
    return radii.std() / radii.mean()


def _numpy_order(points: np.ndarray) -> tuple[float, int]:
    plane = PCA(2).fit_transform(points)
    angle = np.arctan2(plane[:, 1], plane[:, 0])
    p = len(points)
    best = (-1.0, 0)
    for f in range(1, (p - 1) // 2 + 1):
        for orientation in (1, -1):
            steps = orientation * 2 * np.pi * f * np.arange(p) / p
            best = max(best, (abs(np.exp(1j * (angle - steps)).mean()), f))
    return best


@pytest.mark.parametrize("frequency", [1, 4, 15, -7])
def test_circle_is_circular_and_ordered_in_both_directions(frequency):
    circle = _circle(31, frequency)
    score, best = circular_order(circle)
    assert circularity(circle) < 6e-4
    assert score == pytest.approx(1, abs=1e-12)
    assert best == abs(frequency)


def test_ellipse_counts_as_a_circle():
    angle = 2 * torch.pi * torch.arange(64, dtype=torch.float64) / 64
    ellipse = torch.stack((5 * angle.cos(), angle.sin()), dim=-1)
    assert circularity(ellipse) < 1e-9


@pytest.mark.parametrize("p", [30, 31])
def test_noisy_clouds_agree_with_numpy_loops(p):
    circles = torch.stack([_circle(p, f, seed=f) for f in (2, 3, 9)])
    clouds = torch.stack((circles + 0.3 * noise(3, p, 16), noise(3, p, 16)))  # (2, 3, p, 16)
    radial_cv, (score, frequency) = circularity(clouds), circular_order(clouds)
    assert radial_cv.shape == score.shape == frequency.shape == (2, 3)
    for index in np.ndindex(2, 3):
        expected_score, expected_frequency = _numpy_order(clouds[index].numpy())
        assert radial_cv[index] == pytest.approx(
            _numpy_circularity(clouds[index].numpy()), abs=1e-9
        )
        assert score[index] == pytest.approx(expected_score, abs=1e-9)
        assert frequency[index] == expected_frequency


def test_line_in_float32():
    line = torch.arange(31.0)[:, None] * torch.linspace(-1, 1, 16)
    distance = np.abs(np.arange(31) - 15)
    assert circularity(line) == pytest.approx(distance.std() / distance.mean(), abs=1e-5)


def test_coinciding_points_have_no_shape_and_no_order():
    same = torch.full((31, 16), 0.1)
    assert circularity(same).isnan()
    assert circular_order(same)[0] == pytest.approx(0, abs=1e-12)


def test_order_needs_three_points_and_two_features():
    with pytest.raises(ValueError, match="circular_order"):
        circular_order(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="num_components"):
        circularity(torch.zeros(5, 1))
