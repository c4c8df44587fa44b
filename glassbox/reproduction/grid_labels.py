"""Points of a grid by their labels: axis -> value, the protocol among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

PROTOCOLS = ("authors", "careful")

Labels = dict[str, str]  # axis -> value


def matches(point: Mapping[str, str], where: Mapping[str, Any]) -> bool:
    """Whether a point has the values that ``where`` names: axis -> value, or several."""
    return all(point.get(axis) in several(where, axis) for axis in where)


def several(labels: Mapping[str, Any], axis: str) -> list[str]:
    """The values that ``labels`` names of an axis, be it one or a list of them."""
    value = labels[axis]
    return [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]


def published_value(published: Any, point: Mapping[str, str], axes: Iterable[str]) -> Any:
    """What a published table, nested by the grid's axes, says of a point.

    Null at any level says that there is no number for any point below it.

    Raises:
        KeyError: It lacks the point.
    """
    for axis in axes:
        if published is None:
            return None
        published = published[point[axis]]
    return published


def check_labels(labels: Mapping[str, Any], axes: Mapping[str, Iterable[str]], here: str) -> None:
    """Refuse axes and values that a grid does not have.

    Args:
        labels: Axis -> value, or several.
        axes: The axes that may be named, with their values.
        here: What names them, for the sentence.

    Raises:
        ValueError: There is no such axis or value.
    """
    for axis in labels:
        if axis not in axes:
            raise ValueError(f"{here}: there is no axis {axis!r}; axes are {', '.join(axes)}")
        for value in several(labels, axis):
            if value not in axes[axis]:
                raise ValueError(
                    f"{here}: the axis {axis!r} has no value {value!r}; it has "
                    f"{', '.join(axes[axis])}"
                )
