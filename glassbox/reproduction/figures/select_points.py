"""Select what a figure draws from grid points: values of an axis, one point, its numbers."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glassbox.metrics.quantiles import censored_quantile
from glassbox.plots.arrays import Floats
from glassbox.reproduction.grid_point import GridPoint


def axis_values(points: Sequence[GridPoint], axis: str) -> list[str]:
    """Values of an axis in the order of the points."""
    if not points:
        raise ValueError("there are no points to draw; finish a run of this study first")
    for point in points:
        if axis not in point.labels:
            raise ValueError(
                f"the figure needs an axis {axis!r}, but the points have "
                f"{', '.join(map(repr, point.labels)) or 'none'}; rename it in the study's grid"
            )
    return list(dict.fromkeys(point.labels[axis] for point in points))


def numeric_values(points: Sequence[GridPoint], axis: str) -> dict[float, str]:
    """Values of an axis of numbers, rising: number -> its text in the study."""
    numbers: dict[float, str] = {}
    for text in axis_values(points, axis):
        try:
            number = float(text)
        except ValueError:
            number = np.nan
        if not np.isfinite(number):
            raise ValueError(f"axis {axis!r} must have finite numbers such as '0.5', not {text!r}")
        if number in numbers:
            raise ValueError(
                f"axis {axis!r} has the number {number:g} twice, as {numbers[number]!r} and "
                f"{text!r}; remove one"
            )
        numbers[number] = text
    return dict(sorted(numbers.items()))


def point_at(points: Sequence[GridPoint], labels: Mapping[str, str]) -> GridPoint | None:
    """The point with these labels; None where there is none."""
    chosen = [point for point in points if labels.items() <= point.labels.items()]
    if len(chosen) > 1:
        spare = sorted({axis for point in chosen for axis in point.labels} - set(labels))
        raise ValueError(
            f"{len(chosen)} points have {describe(labels)}, but this figure does not draw the axis "
            f"{' and '.join(map(repr, spare)) or 'by which they differ'}; use a study per value"
        )
    return chosen[0] if chosen else None


def points_along(
    points: Sequence[GridPoint], labels: Mapping[str, str], axis: str, values: Iterable[str]
) -> list[GridPoint | None]:
    """Points with these labels at each value of an axis; None where there is none."""
    return [point_at(points, {**labels, axis: value}) for value in values]


def numbers_of(point: GridPoint, metric: str) -> Floats:
    """Metric of every seed (S,), nan where a seed has none."""
    return np.asarray(_metric(point, metric), dtype=np.float64)


def texts_of(point: GridPoint, metric: str) -> list[str]:
    """Metric of every seed where it is text, such as a name."""
    return [str(value) for value in _metric(point, metric)]


def array_of(point: GridPoint, name: str) -> NDArray[Any]:
    """Array (S, ...) of this name."""
    values = point.array(name)
    if values is None:
        raise _missing(point, "array", name, point.arrays)
    return np.asarray(values)


def _metric(point: GridPoint, metric: str) -> NDArray[Any]:
    values = point.metric(metric)
    if values is None:
        raise _missing(point, "metric", metric, point.metrics)
    return values


def _missing(point: GridPoint, kind: str, name: str, known: Iterable[str]) -> ValueError:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 3, 0.5) or names[:8] or ["none"]
    where = describe(point.labels)
    return ValueError(f"the runs of {where} have no {kind} {name!r}; they have {', '.join(close)}")


def describe(labels: Mapping[str, str]) -> str:
    """Labels of a point as text: task = lattice, model = harmonic MLP."""
    return ", ".join(f"{axis} = {value}" for axis, value in labels.items()) or "the only point"


def columns(values: Sequence[Floats | None]) -> Floats:
    """Columns of N points (S, N), padded with nan where seeds or a point are missing."""
    size = max((len(column) for column in values if column is not None), default=0)
    table = np.full((max(size, 1), len(values)), np.nan)
    for index, column in enumerate(values):
        if column is not None:
            table[: len(column), index] = column
    return table


def censored_quartiles(epochs: Floats) -> Floats:
    """Lower quartile, median, upper quartile (3,) of epochs (S,); nan (never) counts as inf."""
    values = [float(epoch) if np.isfinite(epoch) else None for epoch in epochs]
    return np.array([censored_quantile(values, q) for q in (0.25, 0.5, 0.75)])
