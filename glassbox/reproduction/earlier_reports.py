"""Numbers that earlier reports hold, for networks whose runs are no longer there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glassbox.reproduction.report import file_name
from glassbox.reproduction.run_store import Finished, identity_hash
from glassbox.reproduction.seed_statistics import is_epoch
from glassbox.reproduction.seeds_csv import FORMAT, read_seeds

if TYPE_CHECKING:
    from glassbox.reproduction.report_manifest import Identities
    from glassbox.reproduction.study import Study

_ENDINGS = ("png", "pdf")


@dataclass(frozen=True)
class ReportedStudy:
    """What earlier reports say of one study.

    Attributes:
        folders: Of these reports.
        points: By the hash of a point's identity. There are no arrays in them.
        told: Likewise the metrics of which all of these reports tell something.
    """

    folders: Sequence[Path] = ()
    points: Mapping[str, Finished] = field(default_factory=dict)
    told: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def seeds_of(self, point: str) -> Sequence[int]:
        """The seeds of a point whose numbers are known, by its hash."""
        return self.points[point].seeds if point in self.points else []

    def figure(self, study: Study, name: str) -> Path | None:
        """A figure of the study, without its ending; None where there is none."""
        for folder in self.folders:
            path = folder / file_name(name, study, alone=_is_alone(folder, study))
            if all(path.with_name(f"{path.name}.{ending}").is_file() for ending in _ENDINGS):
                return path
        return None


def read_reported(
    folder: Path, name: str, studies: Sequence[Study], identities: Mapping[str, Identities]
) -> dict[str, ReportedStudy]:
    """What earlier reports say of the points of some studies, by study.

    Args:
        folder: Of all reports.
        name: Of the report that is to be made. That one is read, and those of its studies alone.
        studies: Its studies; those without a report are left out.
        identities: Points by study.

    Raises:
        ValueError: A report is damaged, is of another version of the study, or lacks a metric that
            the study judges.
    """
    found = {}
    for study in studies:
        places = dict.fromkeys([folder / study.name, folder / name])
        read = [_read(place, study, identities[study.name]) for place in places]
        known = [reported for reported in read if reported is not None]
        if known:
            found[study.name] = known[0] if len(known) == 1 else _both(*known)
    return found


def _both(first: ReportedStudy, second: ReportedStudy) -> ReportedStudy:
    points, told = dict(second.points), dict(second.told)
    for name, point in first.points.items():
        joined = with_reported(point, second.points.get(name))
        points[name] = joined or point
        told[name] = first.told[name] & told.get(name, first.told[name])
    return ReportedStudy([*first.folders, *second.folders], points, told)


def _is_alone(folder: Path, study: Study) -> bool:
    """Whether a report is of this study alone, or of several."""
    return not (folder / file_name("seeds.csv", study, alone=False)).is_file()


def _read(folder: Path, study: Study, identities: Identities) -> ReportedStudy | None:
    """One report; None where there is none, or of a collection that lacks the study."""
    origin = folder / "study.json"
    if not origin.is_file():
        return None
    try:
        content = json.loads(origin.read_text())
        if study.name not in content["points"] and folder.name != study.name.rpartition("/")[2]:
            return None
        of_study = content["points"][study.name]
        points = {str(labels): str(point) for labels, point in of_study.items()}
        file_format = int(content.get("seeds_csv", 1))
        if file_format > FORMAT:
            raise ValueError("of a newer version")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise ValueError(
            f"{origin} is damaged, of a newer version, or of another study than {study.name}"
        ) from None
    judged = [*study.tables, *study.claims]
    epochs = {e["metric"] for e in judged if is_epoch(e["metric"], e.get("unit"))}
    epochs |= {metric for metric in study.metrics if is_epoch(metric)}
    path = folder / file_name("seeds.csv", study, alone=_is_alone(folder, study))
    rows = read_seeds(path, study, epochs, file_format)
    if strange := [labels for labels in rows if labels not in points]:
        words = ", ".join(json.loads(strange[0]))
        raise ValueError(f"{path} has a line of {words}, of which {origin} does not know")
    there = sum(len(of_point.seeds) for of_point in rows.values())
    if len(content["points"]) == 1 and content.get("networks", there) != there:
        raise ValueError(
            f"{path} has lines of {there:,} networks, and {origin} tells of {content['networks']}; "
            f"get both anew from where they were written"
        )
    reported, told = {}, {}
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
        if labels in rows:
            seeds = [seed for seed in rows[labels].seeds if seed in study.seeds]
            kept = [rows[labels].seeds.index(seed) for seed in seeds]
            metrics = {name: values[kept] for name, values in rows[labels].metrics.items()}
            if seeds:
                reported[name] = Finished(seeds, metrics, {}, 0.0, [{} for _ in seeds])
                told[name] = rows[labels].told
    return ReportedStudy([folder], reported, told)


def with_reported(run: Finished | None, reported: Finished | None) -> Finished | None:
    """A point's runs, and beside them the reported numbers of the seeds that they lack.

    Args:
        run: Of the store.
        reported: Of earlier reports.

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
        {name: _column([of.metrics[name][row] for _, of, row in rows]) for name in shared},
        {},
        run.seconds,
        [of.versions[row] for _, of, row in rows],
    )


def _column(values: Sequence[Any]) -> NDArray[Any]:
    """Numbers; or names, a number among which can only be that of no name at all."""
    if any(isinstance(value, str) for value in values):
        return np.array([value if isinstance(value, str) else "" for value in values])
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
