"""Check a study's tables, claims and figures against its grid before any run starts."""

from __future__ import annotations

import importlib
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glassbox.reproduction.grid_labels import PROTOCOLS, Labels, check_labels, matches
from glassbox.reproduction.schema import STATISTICS, Claim, Table, is_number

if TYPE_CHECKING:
    from glassbox.reproduction.study import Study


def check_study(study: Study, path: Path) -> None:
    """Check labels, tables, claims and figures of a study."""
    if set(study.protocols) not in ({"careful"}, set(PROTOCOLS)):
        raise ValueError(
            f"{path}: protocols are {', '.join(study.protocols)}; use authors and careful, or "
            f"careful alone"
        )
    if "protocol" in study.axes:
        raise ValueError(f"{path}: rename the axis 'protocol'; every grid has this axis already")
    for axis, values in study.axes.items():
        if not values:
            raise ValueError(f"{path}: the axis {axis!r} has no value; add one or remove the axis")
    if not study.config.is_file():
        raise ValueError(f"{path}: config {study.config} does not exist")
    for setting in study.settings:
        check_labels(setting.when, {**study.axes, "protocol": study.protocols}, f"{path}: settings")
    check_labels(study.quick.keep, study.axes, f"{path}: quick.keep")
    points = study.points()
    names = [table.name for table in study.tables]
    for table in study.tables:
        context = f"{path}: table {table.name!r}"
        if names.count(table.name) > 1:
            raise ValueError(f"{context}: name is used twice; summary.csv lists tables by name")
        _check_table(study, table, points, context)
    for claim in study.claims:
        _check_claim(study, claim, points, f"{path}: claim {claim.statement!r}")
    for name, array in study.arrays.items():
        _check_call(array.function, f"{path}: arrays: {name}", (), array.options)
    names = [figure.name for figure in study.figures]
    for figure in study.figures:
        context = f"{path}: figure {figure.name!r}"
        if not re.fullmatch(r"[\w.+-]+", figure.name) or names.count(figure.name) > 1:
            raise ValueError(f"{context}: name must be a valid file name, and unique")
        options = {**dict.fromkeys(study.arrays), **figure.options}
        _check_call(figure.function, context, ([],), {"title": "", **options})


def import_function(path: str) -> Callable[..., Any]:
    """The function of a dotted name, such as glassbox.reproduction.figures.sweep."""
    module, _, name = path.rpartition(".")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def published_value(published: Any, point: Mapping[str, str], axes: Sequence[str]) -> Any:
    """Entry of a published table, nested by the grid's axes, for one point.

    None at any level stands for all points below it.
    """
    for axis in axes:
        if published is None:
            return None
        published = published[point[axis]]
    return published


def _check_table(study: Study, table: Table, points: Sequence[Labels], context: str) -> None:
    for option, value, choices in (
        ("reference_protocol", table.reference_protocol, PROTOCOLS),
        ("statistic", table.statistic, STATISTICS),
    ):
        if value not in choices:
            raise ValueError(
                f"{context}: {option} is {value!r}; choose one of {', '.join(choices)}"
            )
    for option, is_given, statistic in (
        ("threshold", table.threshold is not None, "count_above"),
        ("starts_with", table.starts_with is not None, "count_named"),
    ):
        if (table.statistic == statistic) != is_given:
            raise ValueError(f"{context}: use {option} with statistic {statistic}, and only there")
    check_labels(table.where, study.axes, context)
    for point in points:
        if matches(point, table.where):
            _check_published_value(table.published, point, [*study.axes], context)
    _check_published_labels(table.published, [*study.axes.items()], context)


def _check_published_value(
    published: Any, point: Labels, axes: Sequence[str], context: str
) -> None:
    words = _point_text(point)
    try:
        entry = published_value(published, point, axes)
    except (KeyError, TypeError, IndexError):
        raise ValueError(
            f"{context}: published lacks the grid point {words}; write null where the paper gives "
            f"no number"
        ) from None
    numbers = entry if isinstance(entry, list) else [entry]
    valid = len(numbers) in (1, 3) and all(n == "never" or is_number(n) for n in numbers)
    if valid and len(numbers) == 3:
        low, high = (math.inf if n == "never" else n for n in numbers[1:])
        valid = low <= high
    if entry is not None and not valid:
        raise ValueError(
            f"{context}: published of {words} is {entry!r}; expected a number, [value, low, high], "
            f"never or null"
        )


def _check_published_labels(
    published: Any, axes: Sequence[tuple[str, Mapping[str, Any]]], context: str
) -> None:
    """Raise if a published table names labels that the grid does not have."""
    if axes and isinstance(published, dict):
        (axis, values), *rest = axes
        check_labels({axis: [*published]}, {axis: values}, f"{context}: published")
        for below in published.values():
            _check_published_labels(below, rest, context)


def _check_claim(study: Study, claim: Claim, points: Sequence[Labels], context: str) -> None:
    if (claim.greater is None) == (claim.less is None):
        raise ValueError(f"{context}: give either greater or less")
    groups = {claim.side: claim.group}
    if isinstance(claim.than, dict):
        groups["than"] = claim.than
    for key, labels in {"where": claim.where, **groups}.items():
        if "protocol" in labels:
            raise ValueError(
                f"{context}: {key} names a protocol; remove it, claims are judged under each"
            )
        check_labels(labels, study.axes, f"{context}: {key}")
    for axis in claim.for_each:
        if axis not in study.axes:
            raise ValueError(
                f"{context}: for_each names {axis!r}; axes are {', '.join(study.axes)}"
            )
        sides = [{axis: labels[axis]} for labels in groups.values() if axis in labels]
        if not any(all(matches({axis: value}, s) for s in sides) for value in study.axes[axis]):
            raise ValueError(f"{context}: for_each names {axis!r}, on which the groups differ")
    for key, labels in groups.items():
        if not any(matches(point, labels) and matches(point, claim.where) for point in points):
            raise ValueError(f"{context}: {key} and where have no grid point in common")
    if isinstance(claim.than, dict):
        both = (claim.where, *groups.values())
        shared = [point for point in points if all(matches(point, labels) for labels in both)]
        if shared:
            raise ValueError(
                f"{context}: {_point_text(shared[0])} is in {claim.side} and in than; the groups "
                f"must not overlap"
            )
    elif claim.or_equal:
        raise ValueError(f"{context}: or_equal needs two groups, but than is {claim.than}")
    if claim.share is not None and (isinstance(claim.than, dict) or not 0 < claim.share <= 1):
        raise ValueError(
            f"{context}: share is {claim.share}; it is the fraction of seeds beyond a number, "
            f"above 0 and at most 1"
        )


def _point_text(point: Labels) -> str:
    return ", ".join(value for axis, value in point.items() if axis != "protocol") or "(the only)"


def _check_call(
    path: str, context: str, arguments: Sequence[Any], options: Mapping[str, Any]
) -> None:
    """Raise if a function does not exist or does not take these arguments."""
    try:
        function = import_function(path)
    except (ImportError, AttributeError, ValueError):
        raise ValueError(f"{context}: function {path!r} does not exist") from None
    if not callable(function):
        raise ValueError(f"{context}: {path!r} is not callable; name a function")
    try:
        inspect.signature(function).bind(*arguments, **options)
    except TypeError as error:
        raise ValueError(f"{context}: options do not fit {path}: {error}") from None
