"""Select points of a grid by their labels (axis -> value, with the protocol as one axis)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PROTOCOLS = ("authors", "careful")

Labels = dict[str, str]  # axis -> value
Selection = dict[str, list[str]]  # axis -> values, one of which a point must have


def as_selection(labels: Mapping[str, Any]) -> Selection:
    """Labels as text in lists: ``{fraction: 0.1, task: [a, b]}`` -> ``{fraction: ["0.1"], …}``."""
    return {
        str(axis): [str(item) for item in (value if isinstance(value, list | tuple) else [value])]
        for axis, value in labels.items()
    }


def matches(point: Mapping[str, str], where: Mapping[str, Sequence[str]]) -> bool:
    """Whether a point has one of the listed values on every axis of ``where``."""
    return all(axis in point and point[axis] in values for axis, values in where.items())


def check_labels(
    labels: Mapping[str, Sequence[str]], axes: Mapping[str, Iterable[str]], context: str
) -> None:
    """Check that a grid has these labels."""
    for axis, values in labels.items():
        if axis not in axes:
            raise ValueError(f"{context}: unknown axis {axis!r}; axes are {', '.join(axes)}")
        for value in values:
            if value not in axes[axis]:
                raise ValueError(
                    f"{context}: axis {axis!r} has no value {value!r}; choose from "
                    f"{', '.join(axes[axis])}"
                )
