"""Write and read seeds.csv, a report's table with one line per seed, without losing a bit."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glassbox.reproduction.files import write_csv
from glassbox.reproduction.grid_point import GridPoint

if TYPE_CHECKING:
    from glassbox.reproduction.study import Study

FORMAT = 2  # in 1, an empty cell was a missing value as well as a metric not measured
_NEVER, _NO_VALUE, _UNKNOWN = "never", "no value", "not reported"


@dataclass(frozen=True)
class SeedRows:
    """The seeds of one point."""

    seeds: list[int]  # S seeds, rising
    # by name (S,) float64, nan where a seed has no value; or (S,) text
    metrics: dict[str, NDArray[Any]]
    known_metrics: frozenset[str]  # metrics that the file covers: with values, or as not measured


def write_seeds(path: Path, study: Study, results: Mapping[str, Sequence[GridPoint]]) -> None:
    """Write one line per point, protocol and seed, with every metric of the study.

    Numbers have enough digits to be read back exactly. A missing value is ``no value`` and an
    infinite one ``never``. An empty cell is a metric not measured at that point, or an empty name;
    ``not reported`` is a metric that the earlier report a point was taken from does not cover.
    """
    lines = [
        {
            **point.labels,
            "protocol": protocol,
            "seed": seed,
            **{metric: _cell(point, metric, index) for metric in study.metrics},
        }
        for protocol, points in results.items()
        for point in points
        for index, seed in enumerate(point.seeds)
    ]
    write_csv(path, [*study.axes, "protocol", "seed", *study.metrics], lines)


def read_seeds(
    path: Path, study: Study, epochs: Collection[str], file_format: int
) -> dict[str, SeedRows]:
    """Read a file of :func:`write_seeds`: seeds by the labels of their point, as JSON text.

    In format 1 a column of empty cells means never for the metrics ``epochs``, and not measured for
    others.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            text = file.read()
        reader = csv.DictReader(io.StringIO(text, newline=""))
        lines, columns = [*reader], reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is unreadable ({error}); restore it") from None
    if not text.endswith("\n"):
        raise ValueError(f"{path} is truncated; restore it")
    labels = [*study.axes, "protocol"]
    for column in (*labels, "seed", *study.judged_metrics):
        if column not in columns:
            raise ValueError(
                f"{path} has no column {column!r}, which {study.name} needs; run its networks again"
            )
    points: dict[str, dict[int, dict[str, str]]] = {}
    for number, line in enumerate(lines, start=2):
        if None in line or None in line.values() or not line["seed"].isdecimal():
            raise ValueError(f"{path} is damaged in line {number}; restore it")
        of_point = points.setdefault(json.dumps([line[label] for label in labels]), {})
        if of_point.setdefault(int(line["seed"]), line) is not line:
            raise ValueError(
                f"{path}, line {number}: seed {line['seed']} of a point appears twice; restore it"
            )
    rows = {}
    for point, of_seeds in points.items():
        seeds = sorted(of_seeds)
        cells = {
            metric: [of_seeds[seed][metric] for seed in seeds]
            for metric in study.metrics
            if metric in columns
        }
        known = {metric: column for metric, column in cells.items() if _UNKNOWN not in column}
        values = {
            metric: _values(column, f"{path}: {metric}", file_format > 1 or metric not in epochs)
            for metric, column in known.items()
        }
        metrics = {name: column for name, column in values.items() if column is not None}
        rows[point] = SeedRows(seeds, metrics, frozenset(known))
    return rows


def _cell(point: GridPoint, metric: str, index: int) -> str:
    if point.known_metrics is not None and metric not in point.known_metrics:
        return _UNKNOWN
    values = point.metric(metric)
    value = None if values is None else values[index]
    if value is None or isinstance(value, str):
        return value or ""
    if math.isnan(value):
        return _NO_VALUE
    if math.isinf(value):
        return _NEVER
    text = f"{value:.10g}"
    return text if float(text) == value else repr(float(value))


def _values(cells: Sequence[str], what: str, unmeasured: bool) -> NDArray[Any] | None:
    """Numbers or text; None where nothing was measured."""
    if unmeasured and not any(cells):
        return None
    numbers = [_number(cell) for cell in cells]
    names = [cell for cell, number in zip(cells, numbers, strict=True) if number is None]
    if not names:
        return np.array(numbers, dtype=np.float64)
    if len(names) < sum(map(bool, cells)):
        raise ValueError(f"{what} is {names[0]!r} for a seed, expected a number; restore it")
    return np.array(cells)


def _number(cell: str) -> float | None:
    """The number in a cell; None if it is text."""
    if cell in ("", _NO_VALUE, _NEVER):
        return math.inf if cell == _NEVER else math.nan
    try:
        return float(cell)
    except ValueError:
        return None
