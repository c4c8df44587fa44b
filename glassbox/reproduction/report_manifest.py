"""The manifest study.json of a report: which study and points it holds, and what may replace it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glassbox.reproduction.identity import identity_hash
from glassbox.reproduction.seeds_csv import FORMAT
from glassbox.reproduction.study import Study
from glassbox.versions import package_versions

Identities = dict[str, dict[str, Any]]  # labels of a point as JSON text -> its identity

_DISTINGUISHING = ("title", "source", "tables")


class IncompleteReportError(ValueError):
    """A report would have fewer networks than the one it replaces."""


def report_origin(
    folder: Path, path: Path, name: str, studies: Sequence[Study], title: str | None = None
) -> dict[str, Any]:
    """Keys of a manifest that distinguish a report's study from others of the same name."""
    is_own = name == path.stem  # several folders may hold a file of this name
    relative = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    return {
        "file": relative if is_own else name,
        "title": title or "; ".join(study.title for study in studies),
        "source": "; ".join(study.source for study in studies),
        "tables": [table.name for study in studies for table in study.tables],
    }


def manifest(
    origin: Mapping[str, Any], identities: Mapping[str, Identities], networks: int
) -> dict[str, Any]:
    """Content of ``study.json``."""
    return {
        **origin,
        "networks": networks,
        "points": _hashes(identities),
        "seeds_csv": FORMAT,
        "versions": package_versions(),
    }


def check_report_is_replaceable(
    folder: Path, origin: Mapping[str, Any], identities: Mapping[str, Identities]
) -> None:
    """Raise rather than overwrite a report of another study or of other settings.

    Studies differ if title, source or tables do, unless the report is of the same file and has a
    point in common: a user's own study may get a new title.
    """
    path = folder / "study.json"
    if not path.is_file():
        return
    try:
        stored = dict(json.loads(path.read_text()))
        before = {str(study): dict(points) for study, points in stored["points"].items()}
        if type(stored.get("networks", 0)) is not int:
            raise TypeError("networks")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} is damaged; delete it to write the report again") from None
    now = _hashes(identities)
    has_common_point = bool(_all_points(now) & _all_points(before))
    if not (has_common_point and stored.get("file") == origin["file"]):
        for key in _DISTINGUISHING:
            # Reports of older versions lack these keys.
            if (earlier := stored.get(key, origin[key])) != origin[key]:
                raise ValueError(
                    f"{folder} holds the report of another study ({key} {_text(earlier)}, here "
                    f"{_text(origin[key])}); move it or set --output to another folder"
                )
    for study, points in now.items():
        for labels, point in points.items():
            if before.get(study, {}).get(labels, point) != point:
                raise ValueError(
                    f"{folder} holds the report of another version of this study (other settings "
                    f"at {', '.join(json.loads(labels))}); move it or set --output to another "
                    f"folder"
                )


def check_report_is_richer(folder: Path, networks: int, runs: Path, failed: bool) -> None:
    """Raise rather than replace a report by one of fewer networks, or write an empty one."""
    path = folder / "study.json"
    before = json.loads(path.read_text()).get("networks", 0) if path.is_file() else 0
    if failed and networks < before:
        raise IncompleteReportError(
            f"kept the report of {before:,} networks in {folder}: without the failed runs there "
            f"are {networks:,}"
        )
    if networks == 0 and not failed:
        raise IncompleteReportError(f"no finished run in {runs}; set --runs")
    if networks < before:
        raise IncompleteReportError(
            f"{folder} holds a report of {before:,} networks, {runs} has {networks:,} of them; set "
            f"--runs or --output to another folder"
        )


def _hashes(identities: Mapping[str, Identities]) -> dict[str, dict[str, str]]:
    """Study -> labels -> hash."""
    return {
        study: {labels: identity_hash(identity) for labels, identity in points.items()}
        for study, points in identities.items()
    }


def _all_points(hashes: Mapping[str, Mapping[str, str]]) -> set[str]:
    return {str(point) for points in hashes.values() for point in points.values()}


def _text(value: object) -> str:
    return repr(", ".join(map(str, value)) if isinstance(value, list) else value)
