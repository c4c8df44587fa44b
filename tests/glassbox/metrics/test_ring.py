"""Rings of rows, at rings whose numbers follow from school geometry, and against SciPy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from glassbox.metrics import ring_correlation, ring_curvature, ring_neighbor_fraction, ring_turn
from tests.helpers.noise import noise

MEASURES = [ring_neighbor_fraction, ring_correlation, ring_turn, ring_curvature]


def _ring(rows: int, loops: int = 1) -> Tensor:
    angle = 2 * torch.pi * loops * torch.arange(rows, dtype=torch.float64) / rows
    return torch.stack([angle.cos(), angle.sin(), 0 * angle], dim=-1)


def _metrics(weights: Tensor) -> list[float]:
    return [measure(weights).item() for measure in MEASURES]


@pytest.mark.parametrize("rows", [4, 45])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_perfect_ring(rows, dtype):
    tight = {"rel": 1e-12 if dtype == torch.float64 else 1e-6}
    turned = (0.3 * _ring(rows) @ torch.linalg.qr(noise(3, 3))[0]).to(dtype)
    assert _metrics(turned) == pytest.approx([1, 1, 2 * math.pi, 1], **tight)


def test_circle_off_the_origin():
    lifted = _ring(90) + torch.tensor([0.0, 0.0, 1.0])
    step = math.acos((1 + math.cos(2 * math.pi / 90)) / 2)  # between (cos, sin, 1)s, norm √2
    assert ring_turn(lifted).item() == pytest.approx(90 * step)
    assert ring_curvature(lifted).item() == pytest.approx(1)
    assert ring_neighbor_fraction(lifted) == 1
    assert ring_correlation(lifted).item() == pytest.approx(1)


def test_curvature_of_a_wave_is_the_integral_of_its_curvature():
    angle = torch.linspace(0, 2 * torch.pi, 20001, dtype=torch.float64)[:-1]
    wave = torch.stack([angle.cos(), angle.sin(), 0.3 * (3 * angle).cos()], dim=-1)
    first = torch.stack([-angle.sin(), angle.cos(), -0.9 * (3 * angle).sin()], dim=-1)
    second = torch.stack([-angle.cos(), -angle.sin(), -2.7 * (3 * angle).cos()], dim=-1)
    # κ ds = ‖r' × r''‖ / ‖r'‖² dt
    bend = torch.linalg.cross(first, second).norm(dim=-1) / first.square().sum(dim=-1)
    assert ring_curvature(wave[::40]).item() == pytest.approx(bend.mean().item(), rel=1e-3)


def test_repeated_rows_do_not_change_the_curvature():
    expected = ring_curvature(_ring(6)).item()
    assert expected == pytest.approx(1)
    repeated = _ring(6).repeat_interleave(3, dim=0)
    for shift in range(3):  # the first and the last row coincide, too
        assert ring_curvature(repeated.roll(shift, dims=0)).item() == pytest.approx(expected)
        assert ring_turn(repeated.roll(shift, dims=0)).item() == pytest.approx(2 * math.pi)
    to_and_fro = torch.tensor([[1.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    assert ring_curvature(to_and_fro).item() == pytest.approx(1)


def test_identical_rows():
    same = torch.full((7, 3), 0.3)
    assert ring_neighbor_fraction(same).item() == pytest.approx(2 / 6)
    assert ring_turn(same) == 0
    assert ring_correlation(same).isnan() and ring_curvature(same).isnan()


def _fraction_by_loop(rows: np.ndarray) -> float:
    n = len(rows)
    hits = 0
    for i in range(n):
        others = [(np.linalg.norm(rows[i] - rows[j]), j) for j in range(n) if j != i]
        hits += min(others)[1] in ((i + 1) % n, (i - 1) % n)
    return hits / n


def _correlation_by_scipy(rows: np.ndarray) -> float:
    n = len(rows)
    pairs = [(i, j) for i in range(n) for j in range(i)]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    far = [min(i - j, n - i + j) for i, j in pairs]
    return spearmanr(far, [1 - unit[i] @ unit[j] for i, j in pairs]).statistic


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    return math.acos(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _turn_by_loop(rows: np.ndarray) -> float:
    return sum(_angle(rows[i - 1], rows[i]) for i in range(len(rows)))


def _curvature_by_loop(rows: np.ndarray) -> float:
    edges = [rows[i] - rows[i - 1] for i in range(len(rows))]
    return sum(_angle(edges[i - 1], edges[i]) for i in range(len(rows))) / (2 * math.pi)


@pytest.mark.parametrize(
    ("measure", "reference"),
    [
        (ring_neighbor_fraction, _fraction_by_loop),
        (ring_correlation, _correlation_by_scipy),
        (ring_turn, _turn_by_loop),
        (ring_curvature, _curvature_by_loop),
    ],
)
def test_noisy_rings_agree_with_loops(
    measure: Callable[[Tensor], Tensor], reference: Callable[[np.ndarray], float]
):
    jitter = torch.tensor([0.1, 0.4, 2.0], dtype=torch.float64)[:, None, None]
    weights = _ring(20) + jitter * noise(2, 3, 20, 3)
    result = measure(weights)
    assert result.shape == (2, 3)
    for index in np.ndindex(2, 3):
        assert result[index].item() == pytest.approx(reference(weights[index].numpy()), abs=1e-9)


def test_correlation_ranks_ties_as_scipy_does():
    weights = torch.eye(3).double()[[0, 0, 1, 1, 2, 0, 1]]  # cosines are 0 or 1 only
    assert ring_correlation(weights).item() == pytest.approx(_correlation_by_scipy(weights.numpy()))


@pytest.mark.parametrize("measure", MEASURES)
def test_metrics_are_invariant_to_rotation_scale_direction_and_start(measure):
    weights = _ring(30) + 0.2 * noise(4, 30, 3)
    expected, rotation = measure(weights), torch.linalg.qr(noise(3, 3, seed=1))[0]
    for same in (1e-4 * weights @ rotation, weights.flip(-2), weights.roll(7, -2), -weights):
        torch.testing.assert_close(measure(same), expected)


def test_zero_row():
    ring = torch.cat([_ring(9), torch.zeros(1, 3).double()])
    assert ring_turn(ring).isnan() and ring_correlation(ring).isnan()
    assert ring_neighbor_fraction(ring).isfinite() and ring_curvature(ring).isfinite()


@pytest.mark.parametrize("measure", MEASURES)
def test_fewer_than_three_rows_raise(measure):
    with pytest.raises(ValueError, match="weights"):
        measure(torch.ones(2, 3))
