"""Numbers that an earlier report holds, for networks whose runs are no longer there."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from callbacks.studies.report import file_name
from callbacks.studies.seed_statistics import is_epoch
from callbacks.studies.store import Finished, identity_hash

if TYPE_CHECKING:
    from callbacks.studies.report_origin import Identities
    from callbacks.studies.study import Study


@dataclass(frozen=True)
class Reported:
    """What earlier reports say of the studies of one report.

    Attributes:
        folders: By study where its report is.
        points: By study and by the hash of a point's identity. A metric of which a point has no
            value at all is one that was not measured there, unless it is an epoch that was never
            reached.
    """

    folders: Mapping[str, Path] = field(default_factory=dict)
    points: Mapping[str, Mapping[str, Finished]] = field(default_factory=dict)

    @property
    def num_networks(self) -> int:
        """How many they tell of."""
        return sum(len(point.seeds) for of in self.points.values() for point in of.values())

    def seeds_of(self, study: str, point: str) -> Sequence[int]:
        """The seeds of a point whose numbers are known, by the study's name and the hash."""
        known = self.points.get(study, {}).get(point)
        return known.seeds if known else []

    def figure(self, study: Study, name: str) -> Path | None:
        """A figure of a study, without its ending; None where there is none."""
        folder = self.folders.get(study.name)
        if folder is None:
            return None
        path = folder / file_name(name, study, alone=_is_alone(folder, study))
        return path if path.with_name(f"{path.name}.png").is_file() else None


def read_reported(
    folder: Path, name: str, studies: Sequence[Study], identities: Mapping[str, Identities]
) -> Reported:
    """What the ``seeds.csv`` of earlier reports say of the points of some studies.

    These are the metrics that a study names; arrays, of which figures of embeddings are drawn, are
    in no report.

    Args:
        folder: Of all reports.
        name: Of the one that is to be made. Where it is no report yet, those of its studies count.
        studies: Its studies; those that have no report are left out.
        identities: Points by study.

    Raises:
        ValueError: A report is damaged, is of another version of the study, or lacks a metric that
            the study judges.
    """
    there = {
        one.name: place
        for one in studies
        for place in (folder / one.name, folder / name)
        if (place / "study.json").is_file()
    }
    return Reported(
        there,
        {
            one.name: _points(there[one.name], one, identities[one.name])
            for one in studies
            if one.name in there
        },
    )


def _is_alone(folder: Path, study: Study) -> bool:
    """Whether a report is of this study alone, or of several."""
    return not (folder / file_name("seeds.csv", study, alone=False)).is_file()


def _points(folder: Path, study: Study, identities: Identities) -> dict[str, Finished]:
    """What it says of one study, by the hash of a point's identity."""
    origin = folder / "study.json"
    try:
        content = json.loads(origin.read_text())
        points = {
            str(labels): str(point) for labels, point in content["points"][study.name].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{origin} is damaged, or of another study than {study.name}") from None
    path = folder / file_name("seeds.csv", study, alone=_is_alone(folder, study))
    rows = _rows(path, study)
    reported = {}
    for labels, identity in identities.items():
        name = identity_hash(identity)
        if labels not in points:
            continue
        if points[labels] != name:
            words = ", ".join(json.loads(labels))
            raise ValueError(
                f"{folder} holds the report of another version of this study ({words} was run with "
                f"other settings); its numbers cannot stand beside those of this one"
            )
        of_seeds = {int(row["seed"]): row for row in rows.get(labels, [])}
        if seeds := [seed for seed in study.seeds if seed in of_seeds]:
            lines = [of_seeds[seed] for seed in seeds]
            columns = {
                metric: _column(path, metric, [line[metric] for line in lines])
                for metric in study.metrics
                if metric in lines[0]  # figures of older reports may have asked for fewer
            }
            metrics = {name: column for name, column in columns.items() if column is not None}
            reported[name] = Finished(seeds, metrics, {}, 0.0, [{} for _ in seeds])
    return reported


def with_reported(run: Finished | None, reported: Finished | None) -> Finished | None:
    """A point's runs, and beside them the reported numbers of the seeds that they lack.

    Args:
        run: Of the store.
        reported: Of :func:`read_reported`.

    Returns:
        Both together, without arrays where a seed has none; None where there is neither.
    """
    if run is None or reported is None:
        return run or reported
    rows = [(seed, run, row) for row, seed in enumerate(run.seeds)]
    own = {*run.seeds}
    rows += [(seed, reported, row) for row, seed in enumerate(reported.seeds) if seed not in own]
    if len(rows) == len(own):
        return run
    rows.sort(key=lambda row: row[0])
    # Of a metric that a report lacks nothing is said, rather than that its seeds have no value.
    shared = [name for name in run.metrics if name in reported.metrics]
    return Finished(
        [seed for seed, _, _ in rows],
        {name: np.array([of.metrics[name][row] for _, of, row in rows]) for name in shared},
        {},
        run.seconds,
        [of.versions[row] for _, of, row in rows],
    )


def _rows(path: Path, study: Study) -> dict[str, list[dict[str, str]]]:
    """The lines of a table of seeds, by their point's labels."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            lines = [*reader]
            columns = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read ({error})") from None
    labels = [*study.axes, "protocol"]
    for column in (*labels, "seed", *study.judged_metrics):
        if column not in columns:
            raise ValueError(
                f"{path} has no column {column!r}, which {study.name} asks for now; its networks "
                f"must be run again"
            )
    found: dict[str, list[dict[str, str]]] = {}
    for number, line in enumerate(lines, start=2):
        if None in line or None in line.values() or not line["seed"].isdigit():
            raise ValueError(f"{path} is damaged in line {number}")
        found.setdefault(json.dumps([line[label] for label in labels]), []).append(line)
    return found


def _column(path: Path, metric: str, cells: Sequence[str]) -> NDArray[Any] | None:
    """Numbers, or names; None where nothing was measured."""
    if not any(cells) and not is_epoch(metric):
        return None
    numbers = [_number(cell) for cell in cells]
    no_numbers = [cell for cell, number in zip(cells, numbers, strict=True) if number is None]
    if not no_numbers:
        return np.array(numbers, dtype=np.float64)
    if len(no_numbers) < sum(map(bool, cells)):
        raise ValueError(f"{path} is damaged: {metric} of one seed is {no_numbers[0]!r}, no number")
    return np.array(cells)


def _number(cell: str) -> float | None:
    """A cell of numbers, nan where it is empty; None of a name."""
    try:
        return {"": math.nan, "never": math.inf}[cell] if cell in ("", "never") else float(cell)
    except ValueError:
        return None
