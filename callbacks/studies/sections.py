"""From finished runs to a report: reads a study's results back, draws, and writes."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from callbacks.plots.grid_point import GridPoint
from callbacks.run_summary import versions, write_json
from callbacks.studies.report import Section, write_report
from callbacks.studies.store import Store, identity_hash
from callbacks.studies.study import PROTOCOLS, Study

Identities = dict[str, dict[str, Any]]  # a point's labels as text -> what it is run with


def refuse_other_report(folder: Path, identities: dict[str, Identities]) -> None:
    """Refuse to overwrite a report that other settings have led to.

    Args:
        folder: Of the report.
        identities: Points by study.

    Raises:
        ValueError: The report that lies there is of points that are run with other settings now.
    """
    path = folder / "study.json"
    if not path.is_file():
        return
    before = json.loads(path.read_text())["points"]
    for study, points in identities.items():
        for labels, identity in points.items():
            if before.get(study, {}).get(labels, identity_hash(identity)) != identity_hash(
                identity
            ):
                raise ValueError(
                    f"{folder} holds the report of another version of this study ({labels} was run "
                    f"with other settings); move it away, or give --output another folder"
                )


def write_sections(
    folder: Path,
    studies: Sequence[Study],
    identities: dict[str, Identities],
    store: Store,
    *,
    command: str,
    failed: Mapping[str, str],
) -> Path:
    """Write the report of one study, or of several that belong together.

    Args:
        folder: Where to.
        studies: Their sections, in this order.
        identities: Points by study.
        store: Finished runs.
        command: How to make it again.
        failed: Why runs failed, by their name.

    Returns:
        The file ``report.md``.
    """
    sections, notes = [], [f"Failed: {name}: {sentence}" for name, sentence in failed.items()]
    for study in studies:
        results = _results(study, identities[study.name], store)
        wanted = len(study.points()) * len(study.seeds)
        there = sum(len(point.seeds) for points in results.values() for point in points)
        minutes = sum(_seconds(identities[study.name], study, store)) / 60
        notes.append(f"{study.name}: {there:,} networks, {minutes:,.0f} minutes of training runs")
        if there < wanted:
            notes.append(f"{study.name}: {wanted - there:,} of {wanted:,} networks are not run")
        sections.append(Section(study, results, _figures(study, results)))
    report = write_report(folder, sections, command=command, notes=notes)
    points = {
        study: {labels: identity_hash(identity) for labels, identity in of.items()}
        for study, of in identities.items()
    }
    write_json(folder / "study.json", {"points": points, "versions": versions()})
    return report


def _results(study: Study, identities: Identities, store: Store) -> dict[str, list[GridPoint]]:
    results: dict[str, list[GridPoint]] = {protocol: [] for protocol in PROTOCOLS}
    for point, identity in zip(study.points(), identities.values(), strict=True):
        found = store.read(identity, study.seeds)
        if found is not None:
            labels = {axis: value for axis, value in point.items() if axis != "protocol"}
            results[point["protocol"]].append(
                GridPoint(labels, found.seeds, found.metrics, found.arrays)
            )
    return results


def _seconds(identities: Identities, study: Study, store: Store) -> list[float]:
    found = (store.read(identity, study.seeds) for identity in identities.values())
    return [point.seconds for point in found if point is not None]


def _figures(study: Study, results: dict[str, list[GridPoint]]) -> dict[str, Any]:
    given = {
        name: _function(entry["function"])(**entry.get("options", {}))
        for name, entry in study.arrays.items()
    }
    figures = {}
    for entry in study.figures:
        for protocol in PROTOCOLS:
            if results[protocol]:
                figures[f"{entry['name']}_{protocol}"] = _function(entry["draw"])(
                    results[protocol],
                    title=f"{study.title}: {protocol} protocol",
                    **given,
                    **entry.get("options", {}),
                )
    return figures


def _function(path: str) -> Callable[..., Any]:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
