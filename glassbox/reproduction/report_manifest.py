"""Which study a report is of: what ``study.json`` beside it keeps, and what is not overwritten."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glassbox.reproduction.files import write_text
from glassbox.reproduction.run_store import identity_hash
from glassbox.reproduction.seeds_csv import FORMAT
from glassbox.reproduction.study import Study
from glassbox.versions import package_versions

Identities = dict[str, dict[str, Any]]  # a point's labels as text -> what it is run with

_TOLD = ("title", "source", "tables")  # by which studies are told apart


class IncompleteReportError(ValueError):
    """A report that would say less than the one it replaces."""


def report_origin(
    folder: Path, path: Path, name: str, studies: Sequence[Study], title: str | None = None
) -> dict[str, Any]:
    """What tells a report's study from others of its name.

    Args:
        folder: Of the report.
        path: The study's file, or that of a collection.
        name: What it is called.
        studies: Its studies.
        title: Of a collection; those of its studies if it has none.

    Returns:
        ``title``, ``source`` and ``tables`` (names), and ``file``: of a study that is shipped its
        name, of one's own the place as seen from the report, which moves with the project.
    """
    # Of one's own the name is the file's alone, which several folders may hold.
    own = name == path.stem
    file = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix() if own else name
    return {
        "file": file,
        "title": title or "; ".join(study.title for study in studies),
        "source": "; ".join(study.source for study in studies),
        "tables": [table["name"] for study in studies for table in study.tables],
    }


def refuse_other_report(
    folder: Path, origin: Mapping[str, Any], identities: Mapping[str, Identities]
) -> None:
    """Refuse to overwrite the report of another study, or one that other settings have led to.

    A study is another one where its title, source or tables are others. One's own may be given new
    ones: the same file with a point that was reported is the same study.

    Args:
        folder: Of the report.
        origin: Of the report that would be written, of :func:`report_origin`.
        identities: Points by study.

    Raises:
        ValueError: The report that lies there is another study's, or of points that are run with
            other settings now.
    """
    path = folder / "study.json"
    if not path.is_file():
        return
    try:
        stored = dict(json.loads(path.read_text()))
        before = {str(study): dict(of) for study, of in stored["points"].items()}
        if type(stored.get("networks", 0)) is not int:
            raise TypeError("networks")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} is damaged; delete it, and the report is written anew") from None
    now = _hashes(identities)
    shared = _all_points(now) & _all_points(before)
    if not (shared and stored.get("file") == origin["file"]):
        for key in _TOLD:
            # A report of an older version does not say.
            if (there := stored.get(key, origin[key])) != origin[key]:
                raise ValueError(
                    f"{folder} holds the report of another study ({key} {_text(there)}, and here "
                    f"{_text(origin[key])}); move it away, or give --output another folder"
                )
    for study, points in now.items():
        for labels, point in points.items():
            if before.get(study, {}).get(labels, point) != point:
                words = ", ".join(json.loads(labels))
                raise ValueError(
                    f"{folder} holds the report of another version of this study ({words} was run "
                    f"with other settings); move it away, or give --output another folder"
                )


def refuse_poorer_report(folder: Path, networks: int, runs: Path, failed: bool) -> None:
    """Refuse to replace a report by one of fewer networks, as with the wrong folder of runs.

    Args:
        folder: Of the report.
        networks: That the new one would have.
        runs: Where they were looked for.
        failed: Whether they lack because runs failed, of which a new report may have nothing else.

    Raises:
        IncompleteReportError: There is none, or the report that lies there has more.
    """
    path = folder / "study.json"
    before = json.loads(path.read_text()).get("networks", 0) if path.is_file() else 0
    if failed and networks < before:
        raise IncompleteReportError(
            f"{folder} holds a report of {before:,} networks, and without the failed runs there "
            f"are {networks:,}; it stays as it is"
        )
    if networks == 0 and not failed:
        raise IncompleteReportError(
            f"nothing of it is finished in {runs}; name the runs with --runs"
        )
    if networks < before:
        raise IncompleteReportError(
            f"{folder} holds a report of {before:,} networks, of which {runs} has {networks:,}; "
            f"name the runs with --runs, or give --output another folder"
        )


def write_origin(
    folder: Path,
    origin: Mapping[str, Any],
    identities: Mapping[str, Identities],
    networks: int,
) -> None:
    """Keep what is compared before a report is replaced, and the versions that wrote it."""
    content = {**origin, "networks": networks, "points": _hashes(identities)}
    content["seeds_csv"] = FORMAT
    content |= {"versions": package_versions()}
    write_text(folder / "study.json", json.dumps(content, indent=1) + "\n")


def _hashes(identities: Mapping[str, Identities]) -> dict[str, dict[str, str]]:
    """By study and labels."""
    return {
        study: {labels: identity_hash(identity) for labels, identity in of.items()}
        for study, of in identities.items()
    }


def _all_points(hashes: Mapping[str, Mapping[str, str]]) -> set[str]:
    return {str(point) for of in hashes.values() for point in of.values()}


def _text(value: Any) -> str:
    return repr(", ".join(map(str, value)) if isinstance(value, list) else value)
