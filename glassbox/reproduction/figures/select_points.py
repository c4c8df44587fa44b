"""What a figure over grid points asks of them: the values of an axis, one point, its numbers."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glassbox.plots.arrays import Floats
from glassbox.reproduction.grid_point import GridPoint

_NEVER = 1e30  # stands for never in a quantile: infinities would give inf - inf


def axis_values(points: Sequence[GridPoint], axis: str) -> list[str]:
    """The values of an axis in the order in which the points have them.

    Raises:
        ValueError: There is no point, or one without this axis.
    """
    if not points:
        raise ValueError("There are no points to draw: no run of this study is finished.")
    for point in points:
        if axis not in point.labels:
            raise ValueError(
                f"The figure needs an axis {axis!r}, but the points have "
                f"{', '.join(map(repr, point.labels)) or 'none'}; name it so in the study's grid."
            )
    return list(dict.fromkeys(point.labels[axis] for point in points))


def numeric_values(points: Sequence[GridPoint], axis: str) -> dict[float, str]:
    """The values of an axis of numbers, rising: number -> as it is written in the study.

    Raises:
        ValueError: As :func:`axis_values`, a value is no finite number, or two are the same one.
    """
    numbers: dict[float, str] = {}
    for text in axis_values(points, axis):
        try:
            number = float(text)
        except ValueError:
            number = np.nan
        if not np.isfinite(number):
            raise ValueError(f"The axis {axis!r} must hold numbers such as '0.5', not {text!r}.")
        if number in numbers:
            raise ValueError(
                f"The axis {axis!r} holds the number {number:g} twice, as {numbers[number]!r} and "
                f"{text!r}; leave one of them out."
            )
        numbers[number] = text
    return dict(sorted(numbers.items()))


def point_at(points: Sequence[GridPoint], labels: Mapping[str, str]) -> GridPoint | None:
    """The point with these labels, None where there is none.

    Raises:
        ValueError: Several points have them, so that the grid has an axis the figure ignores.
    """
    found = [point for point in points if labels.items() <= point.labels.items()]
    if len(found) > 1:
        spare = sorted({axis for point in found for axis in point.labels} - set(labels))
        raise ValueError(
            f"{len(found)} points have {describe(labels)}: this figure has no place for the axis "
            f"{' and '.join(map(repr, spare)) or 'that tells them apart'}; draw each of its values "
            f"by a study of its own."
        )
    return found[0] if found else None


def points_along(
    points: Sequence[GridPoint], labels: Mapping[str, str], axis: str, values: Iterable[str]
) -> list[GridPoint | None]:
    """The points with these labels at each value of an axis, None where there is none.

    Raises:
        ValueError: As :func:`point_at`.
    """
    return [point_at(points, {**labels, axis: value}) for value in values]


def numbers_of(point: GridPoint, metric: str) -> Floats:
    """Metric of every seed (S,), nan where a seed has none.

    Raises:
        ValueError: The point's runs did not measure it.
    """
    values = _existing(point.metric(metric), point, metric, point.metrics)
    return np.asarray(values, dtype=np.float64)


def texts_of(point: GridPoint, metric: str) -> list[str]:
    """Metric of every seed where it is text, such as a name.

    Raises:
        ValueError: The point's runs did not measure it.
    """
    return [str(value) for value in _existing(point.metric(metric), point, metric, point.metrics)]


def array_of(point: GridPoint, name: str) -> NDArray[Any]:
    """Array (S, ...) of this name.

    Raises:
        ValueError: The point's runs did not keep it.
    """
    return _existing(point.array(name), point, name, point.arrays)


def _existing(
    values: NDArray[Any] | None, point: GridPoint, name: str, known: Iterable[str]
) -> NDArray[Any]:
    if values is None:
        names = sorted(known)
        close = difflib.get_close_matches(name, names, 3, 0.5) or names[:8] or ["none"]
        raise ValueError(
            f"the runs of {describe(point.labels)} have no {name!r}; they have {', '.join(close)}"
        )
    return np.asarray(values)


def describe(labels: Mapping[str, str]) -> str:
    """A point's place in words: task = lattice, model = harmonic MLP."""
    return ", ".join(f"{axis} = {value}" for axis, value in labels.items()) or "the only point"


def columns(values: Sequence[Floats | None]) -> Floats:
    """Numbers of N points side by side (S, N), filled up with nan: fewer seeds, or no point."""
    size = max((len(column) for column in values if column is not None), default=0)
    table = np.full((max(size, 1), len(values)), np.nan)
    for index, column in enumerate(values):
        if column is not None:
            table[: len(column), index] = column
    return table


def censored_quartiles(epochs: Floats) -> Floats:
    """Lower quartile, median, upper quartile (3,) of the epochs (S,) of S seeds, nan = never.

    Never is later than any number, so that a quartile may be infinite.
    """
    known = np.where(np.isfinite(epochs), epochs, _NEVER)
    result = np.quantile(known, [0.25, 0.5, 0.75])
    return np.where(result > _NEVER * 1e-6, np.inf, result)
