"""How far the parallelograms of a grid are from parallelograms in its embedding."""

import functools

import torch
from torch import Tensor

from glassbox.metrics._tensors import as_points, distances, like_input


@functools.cache
def _quadruples(side: int) -> Tensor:
    """Token ids (4, Q) of all a < b < c with d = b + c - a on the grid.

    d has a larger id than c, so the four are always different. Triples within one row or one column
    are left out and diagonal ones kept, as in the authors' code.
    """
    triples = torch.combinations(torch.arange(side * side), 3).T
    row, column = triples // side, triples % side
    last_row = row[1] + row[2] - row[0]
    last_column = column[1] + column[2] - column[0]
    inside = (last_row >= 0) & (last_row < side) & (last_column >= 0) & (last_column < side)
    one_row = (row[0] == row[1]) & (row[1] == row[2])
    one_column = (column[0] == column[1]) & (column[1] == column[2])
    keep = inside & ~one_row & ~one_column
    last = side * last_row + last_column
    return torch.cat((triples, last[None]))[:, keep]


def lattice_deviation(points: Tensor, side: int) -> Tensor:
    """Mean deviation from a parallelogram, over the parallelograms of a side x side grid.

    For corners a, b, c and d = b + c - a the deviation is
    sqrt((|ab| - |cd|)^2 + (|ac| - |bd|)^2) / sqrt((|ab|^2 + |bc|^2 + |cd|^2 + |ad|^2) / 2).
    The denominator mixes two sides with the two diagonals, as in the authors' code, so that values
    can be compared.

    Args:
        points: (..., side * side, E) embeddings; token ``side * row + column`` sits at
            (row, column). All E dimensions count, there is no projection.
        side: Number of rows and of columns, at least 2. The table of parallelograms is built once
            per side and takes memory proportional to side^6.

    Returns:
        (...) 0 for any linear image of the grid; about 0.22 for a Gaussian cloud in 16 dimensions.
        Parallelograms whose four corners coincide are left out; if that leaves none, nan.
        float32, or float64 for float64 points.

    Raises:
        ValueError: ``side`` is below 2, or ``points`` is not a floating-point (..., side^2, E).

    Source: the authors' lattice metric (``crystal_metric.py``); not reported in the paper.
    """
    if side < 2:
        raise ValueError(f"side must be at least 2, got {side}.")
    cloud = as_points(points)
    if cloud.shape[-2] != side * side:
        raise ValueError(
            f"points must have {side * side} rows for side {side}, got {cloud.shape[-2]}."
        )
    length = distances(cloud)
    a, b, c, d = _quadruples(side).to(length.device)
    ab, cd, ac, bd = length[..., a, b], length[..., c, d], length[..., a, c], length[..., b, d]
    bc, ad = length[..., b, c], length[..., a, d]
    mismatch = torch.hypot(ab - cd, ac - bd)
    size = ((ab.square() + bc.square() + cd.square() + ad.square()) / 2).sqrt()
    extended = size != 0
    deviation = torch.where(extended, mismatch / size, 0.0)
    return like_input(deviation.sum(dim=-1) / extended.sum(dim=-1), points)
