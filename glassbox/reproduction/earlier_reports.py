"""Numbers of earlier reports, for networks whose runs no longer exist."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glassbox.reproduction.identity import identity_hash
from glassbox.reproduction.report import FIGURE_FORMATS, file_name
from glassbox.reproduction.run_store import PointResults
from glassbox.reproduction.schema import is_epoch
from glassbox.reproduction.seeds_csv import FORMAT, read_seeds

if TYPE_CHECKING:
    from glassbox.reproduction.report_manifest import Identities
    from glassbox.reproduction.study import Study


@dataclass(frozen=True)
class ReportedStudy:
    """Numbers of one study in earlier reports."""

    folders: Sequence[Path] = ()  # of these reports
    # hash of a point -> its numbers, without arrays
    points: Mapping[str, PointResults] = field(default_factory=dict)
    # hash of a point -> metrics that all of these reports cover
    known_metrics: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def seeds_of(self, point: str) -> Sequence[int]:
        """Seeds of a point (by hash) whose numbers are known."""
        return self.points[point].seeds if point in self.points else []

    def figure(self, study: Study, name: str) -> Path | None:
        """Path of a figure of the study, without its ending; None where there is none."""
        for folder in self.folders:
            path = folder / file_name(name, study, alone=_is_alone(folder, study))
            if all(path.with_name(f"{path.name}.{end}").is_file() for end in FIGURE_FORMATS):
                return path
        return None


def read_reported(
    folder: Path, name: str, studies: Sequence[Study], identities: Mapping[str, Identities]
) -> dict[str, ReportedStudy]:
    """Read the numbers of some studies from earlier reports."""
    reported = {}
    for study in studies:
        places = dict.fromkeys([folder / study.name, folder / name])
        read = [_read(place, study, identities[study.name]) for place in places]
        known = [each for each in read if each is not None]
        if known:
            reported[study.name] = known[0] if len(known) == 1 else _both(*known)
    return reported


def _both(first: ReportedStudy, second: ReportedStudy) -> ReportedStudy:
    points, metrics = dict(second.points), dict(second.known_metrics)
    for name, point in first.points.items():
        points[name] = with_reported(point, second.points.get(name)) or point
        known = first.known_metrics[name]
        metrics[name] = known & metrics.get(name, known)
    return ReportedStudy([*first.folders, *second.folders], points, metrics)


def _is_alone(folder: Path, study: Study) -> bool:
    """Whether a report is of this study alone."""
    return not (folder / file_name("seeds.csv", study, alone=False)).is_file()


def _read(folder: Path, study: Study, identities: Identities) -> ReportedStudy | None:
    """Read one report; None where there is none, or it is of a collection without the study."""
    origin = folder / "study.json"
    if not origin.is_file():
        return None
    try:
        content = json.loads(origin.read_text())
        if study.name not in content["points"] and folder.name != study.name.rpartition("/")[2]:
            return None
        stored = content["points"][study.name]
        points = {str(labels): str(point) for labels, point in stored.items()}
        file_format = int(content.get("seeds_csv", 1))
        if file_format > FORMAT:
            raise ValueError("newer format")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise ValueError(
            f"{origin} is damaged, of a newer version, or not of {study.name}; restore it"
        ) from None
    epochs = {table.metric for table in study.tables if table.counts_epochs}
    epochs |= {claim.metric for claim in study.claims if claim.counts_epochs}
    epochs |= {metric for metric in study.metrics if is_epoch(metric)}
    path = folder / file_name("seeds.csv", study, alone=_is_alone(folder, study))
    rows = read_seeds(path, study, epochs, file_format)
    if unknown := [labels for labels in rows if labels not in points]:
        words = ", ".join(json.loads(unknown[0]))
        raise ValueError(f"{path} has the point {words}, which {origin} lacks; restore both")
    networks = sum(len(of_point.seeds) for of_point in rows.values())
    if len(content["points"]) == 1 and content.get("networks", networks) != networks:
        raise ValueError(
            f"{path} has {networks:,} networks, {origin} has {content['networks']}; restore both"
        )
    reported, known_metrics = {}, {}
    for labels, identity in identities.items():
        name = identity_hash(identity)
        if labels not in points:
            continue
        if points[labels] != name:
            raise ValueError(
                f"{folder} holds the report of another version of this study (other settings at "
                f"{', '.join(json.loads(labels))}); run the study without it"
            )
        if labels in rows:
            seeds = [seed for seed in rows[labels].seeds if seed in study.seeds]
            kept = [rows[labels].seeds.index(seed) for seed in seeds]
            metrics = {name: values[kept] for name, values in rows[labels].metrics.items()}
            if seeds:
                reported[name] = PointResults(seeds, metrics, {}, 0.0, [{} for _ in seeds])
                known_metrics[name] = rows[labels].known_metrics
    return ReportedStudy([folder], reported, known_metrics)


def with_reported(run: PointResults | None, reported: PointResults | None) -> PointResults | None:
    """A point's runs, with reported numbers for the seeds that they lack."""
    if run is None or reported is None:
        return run or reported
    own = {*run.seeds}
    rows = [(seed, run, row) for row, seed in enumerate(run.seeds)]
    rows += [(seed, reported, row) for row, seed in enumerate(reported.seeds) if seed not in own]
    if len(rows) == len(own):
        return run
    rows.sort(key=lambda row: row[0])
    # A metric that the report lacks is left out: its seeds are unknown, not without a value.
    shared = [name for name in run.metrics if name in reported.metrics]
    return PointResults(
        [seed for seed, _, _ in rows],
        {name: _column([of.metrics[name][row] for _, of, row in rows]) for name in shared},
        {},
        run.seconds,
        [of.versions[row] for _, of, row in rows],
    )


def _column(values: Sequence[Any]) -> NDArray[Any]:
    """Values as numbers, or as text where any is text (a number among them is a missing name)."""
    if any(isinstance(value, str) for value in values):
        return np.array([value if isinstance(value, str) else "" for value in values])
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
