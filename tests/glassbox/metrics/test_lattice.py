import itertools

import numpy as np
import pytest
import torch

from glassbox.metrics import lattice_deviation
from tests.helpers.noise import noise


def _linear_lattice(side: int, dim: int = 16) -> torch.Tensor:
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    grid = torch.stack((row, column), dim=-1).reshape(-1, 2).double()
    return grid @ noise(2, dim) + noise(dim)


def _loop_deviation(points: np.ndarray, side: int) -> float:
    """Straight from the definition, with coordinates on the grid instead of token ids."""
    cells = list(itertools.product(range(side), range(side)))
    where = dict(zip(cells, points, strict=True))
    deviations = []
    for a, b, c in itertools.combinations(cells, 3):
        d = (b[0] + c[0] - a[0], b[1] + c[1] - a[1])
        if d not in where or len({a[0], b[0], c[0]}) == 1 or len({a[1], b[1], c[1]}) == 1:
            continue

        def length(u, v):
            return np.linalg.norm(where[u] - where[v])

        top = (length(a, b) - length(c, d)) ** 2 + (length(a, c) - length(b, d)) ** 2
        squares = [length(*pair) ** 2 for pair in ((a, b), (b, c), (c, d), (a, d))]
        if not any(squares):
            continue
        deviations.append(np.sqrt(top) / np.sqrt(sum(squares) / 2))
    return float(np.mean(deviations))


@pytest.mark.parametrize("side", [2, 5])
def test_linear_lattice_is_perfect(side):
    assert lattice_deviation(_linear_lattice(side), side) < 1e-12


@pytest.mark.parametrize("side", [2, 3, 5])
def test_random_points_agree_with_a_loop_over_the_definition(side):
    points = noise(2, 2, side * side, 16)
    deviation = lattice_deviation(points, side)
    assert deviation.shape == (2, 2)
    for index in np.ndindex(2, 2):
        expected = _loop_deviation(points[index].numpy(), side)
        assert deviation[index] == pytest.approx(expected, abs=1e-12)


def test_parallelogram_in_one_point_is_left_out():
    points = noise(25, 16)
    points[[1, 5, 6]] = points[0].clone()
    deviation = lattice_deviation(points, 5)
    assert deviation == pytest.approx(_loop_deviation(points.numpy(), 5), abs=1e-12)


def test_wrong_number_of_points_raises():
    with pytest.raises(ValueError, match="points"):
        lattice_deviation(noise(24, 16), 5)


def test_grid_without_parallelograms_raises():
    with pytest.raises(ValueError, match="side"):
        lattice_deviation(noise(1, 16), 1)
