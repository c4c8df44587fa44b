"""The table of a report with a line per seed, written and read back without losing a bit."""

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

FORMAT = 2  # in 1 an empty cell was a seed without a value as well as what was not measured
_NEVER, _NO_VALUE, _NOT_TOLD = "never", "no value", "not told"


@dataclass(frozen=True)
class SeedRows:
    """The seeds of one point.

    Attributes:
        seeds: S seeds, rising.
        metrics: By name (S,) float64, nan where a seed has no value; or (S,) text.
        told: Metrics of which the file says what they are, or that they were not measured.
    """

    seeds: list[int]
    metrics: dict[str, NDArray[Any]]
    told: frozenset[str]


class PartialMetrics(dict[str, NDArray[Any]]):
    """Metrics or arrays of a point that is known from reports, wholly or in part.

    To ask for anything that these do not tell is an error, where it would look as though the runs
    did not have it.

    Args:
        values: By name.
        told: Names that may be asked for.
    """

    def __init__(self, values: Mapping[str, NDArray[Any]], told: Collection[str]) -> None:
        super().__init__(values)
        self.told = told

    def __contains__(self, name: object) -> bool:
        if name not in self.told:
            raise ValueError(f"earlier reports do not tell {name}")
        return super().__contains__(name)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self:
            raise KeyError(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The value, or the default where the runs do not have it."""
        return super().__getitem__(name) if name in self else default


def write_seeds(path: Path, study: Study, results: Mapping[str, Sequence[GridPoint]]) -> None:
    """One line per point, protocol and seed, with every metric that the study names.

    Numbers have as many digits as bring them back. A seed of which a metric has no value says so;
    an empty cell is a metric that is not measured at that point, or a name that is empty. What the
    reports do not tell from which a point was taken is called so.
    """
    lines = [
        {
            **point.labels,
            "protocol": protocol,
            "seed": seed,
            **{metric: _cell(point.metrics, metric, index) for metric in study.metrics},
        }
        for protocol, points in results.items()
        for point in points
        for index, seed in enumerate(point.seeds)
    ]
    write_csv(path, [*study.axes, "protocol", "seed", *study.metrics], lines)


def read_seeds(
    path: Path, study: Study, epochs: Collection[str], file_format: int
) -> dict[str, SeedRows]:
    """What :func:`write_seeds` has written.

    Args:
        path: The file.
        study: Whose it is.
        epochs: Metrics that count epochs. In format 1, where all cells of such a metric are empty
            it was never reached, and where those of another one are it was not measured.
        file_format: As ``FORMAT`` was when it was written.

    Returns:
        The seeds by their point's labels, which are text as in ``study.json``.

    Raises:
        ValueError: It cannot be read, is damaged, or lacks what the study judges.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            text = file.read()
        reader = csv.DictReader(io.StringIO(text, newline=""))
        lines, columns = [*reader], reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read ({error})") from None
    if not text.endswith("\n"):
        raise ValueError(f"{path} is cut short; get it anew from where it was written")
    labels = [*study.axes, "protocol"]
    for column in (*labels, "seed", *study.judged_metrics):
        if column not in columns:
            raise ValueError(
                f"{path} has no column {column!r}, which {study.name} asks for now; its networks "
                f"must be run again"
            )
    found: dict[str, dict[int, dict[str, str]]] = {}
    for number, line in enumerate(lines, start=2):
        if None in line or None in line.values() or not line["seed"].isdecimal():
            raise ValueError(f"{path} is damaged in line {number}")
        of_point = found.setdefault(json.dumps([line[label] for label in labels]), {})
        if of_point.setdefault(int(line["seed"]), line) is not line:
            raise ValueError(f"{path} has seed {line['seed']} of a point twice, in line {number}")
    rows = {}
    for point, of_seeds in found.items():
        seeds = sorted(of_seeds)
        cells = {
            metric: [of_seeds[seed][metric] for seed in seeds]
            for metric in study.metrics
            if metric in columns
        }
        told = {metric: column for metric, column in cells.items() if _NOT_TOLD not in column}
        values = {
            metric: _values(column, f"{path}: {metric}", file_format > 1 or metric not in epochs)
            for metric, column in told.items()
        }
        metrics = {name: column for name, column in values.items() if column is not None}
        rows[point] = SeedRows(seeds, metrics, frozenset(told))
    return rows


def _cell(metrics: Mapping[str, NDArray[Any]], metric: str, index: int) -> str:
    if isinstance(metrics, PartialMetrics) and metric not in metrics.told:
        return _NOT_TOLD
    value = metrics[metric][index] if metric in metrics else None
    if value is None or isinstance(value, str):
        return value or ""
    if math.isnan(value):
        return _NO_VALUE
    if math.isinf(value):
        return _NEVER
    text = f"{value:.10g}"
    return text if float(text) == value else repr(float(value))


def _values(cells: Sequence[str], what: str, unmeasured: bool) -> NDArray[Any] | None:
    """Numbers, or names; None where nothing was measured."""
    if unmeasured and not any(cells):
        return None
    numbers = [_number(cell) for cell in cells]
    names = [cell for cell, number in zip(cells, numbers, strict=True) if number is None]
    if not names:
        return np.array(numbers, dtype=np.float64)
    if len(names) < sum(map(bool, cells)):
        raise ValueError(f"{what} of one seed is {names[0]!r}, no number; the file is damaged")
    return np.array(cells)


def _number(cell: str) -> float | None:
    """A cell of numbers; None of a name."""
    if cell in ("", _NO_VALUE, _NEVER):
        return math.inf if cell == _NEVER else math.nan
    try:
        return float(cell)
    except ValueError:
        return None
