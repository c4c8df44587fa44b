import math

import pytest
import torch

from glassbox.metrics import first_sustained_epoch


def _loop(curve: list[float], threshold: float, patience: int) -> float:
    for start in range(len(curve) - patience + 1):
        if all(value > threshold for value in curve[start : start + patience]):
            return float(start)
    return math.nan


@pytest.mark.parametrize("patience", [1, 3, 20])
def test_agrees_with_a_loop_for_every_seed(patience):
    generator = torch.Generator().manual_seed(0)
    # Noisy rising accuracies: some curves reach the threshold at once, some late, some never.
    accuracy = torch.rand(4, 25, 60, generator=generator) ** torch.linspace(2, 0, 60)
    accuracy[0] *= 0.5
    accuracy[1, :5, 50] = torch.nan  # interrupts a run
    epoch = first_sustained_epoch(accuracy, 0.5, patience)
    assert epoch.shape == (4, 25)
    assert epoch.dtype == torch.float32
    expected = [[_loop(c, 0.5, patience) for c in row] for row in accuracy.tolist()]
    torch.testing.assert_close(epoch, torch.tensor(expected), equal_nan=True)
    assert 0 < epoch.isnan().sum() < 100


def test_threshold_must_be_exceeded():
    accuracy = torch.full((30,), 0.9)
    assert first_sustained_epoch(accuracy).isnan()
    assert first_sustained_epoch(accuracy + 1e-6) == 0


@pytest.mark.parametrize("epochs", [0, 19])
def test_curves_shorter_than_patience_are_nan(epochs):
    epoch = first_sustained_epoch(torch.ones(3, epochs))
    assert epoch.shape == (3,)
    assert epoch.isnan().all()


def test_arguments_out_of_range_raise():
    with pytest.raises(ValueError, match="patience"):
        first_sustained_epoch(torch.ones(5), patience=0)
    with pytest.raises(ValueError, match="accuracy"):
        first_sustained_epoch(torch.tensor(1.0))
