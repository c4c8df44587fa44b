import numpy as np
import pytest
import torch

from glassbox.metrics import class_compactness
from tests.helpers.noise import noise

LABELS = torch.arange(40) % 5


def _loop(points: np.ndarray, labels: np.ndarray) -> float:
    within, between = [], []
    for x, label_x in zip(points, labels, strict=True):
        for y, label_y in zip(points, labels, strict=True):
            (within if label_x == label_y else between).append(np.linalg.norm(x - y))
    limit = np.mean(between)
    return np.mean([length for length in within if length < limit]) / limit


def test_agrees_with_a_double_loop_for_every_seed():
    centers = noise(5, 16)[LABELS]
    std = torch.tensor([0.0, 0.5, 3.0], dtype=torch.float64)[:, None, None, None]
    clouds = centers + std * noise(3, 2, 40, 16)
    compactness = class_compactness(clouds, LABELS)
    assert compactness.shape == (3, 2)
    for index in np.ndindex(3, 2):
        expected = _loop(clouds[index].numpy(), LABELS.numpy())
        assert compactness[index] == pytest.approx(expected, abs=1e-12)


def test_single_class_raises():
    with pytest.raises(ValueError, match="labels"):
        class_compactness(noise(4, 2), torch.full((4,), 3))
