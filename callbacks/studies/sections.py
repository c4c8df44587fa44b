"""From finished runs to a report: reads a study's results back, draws, and writes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from callbacks.plots.grid_point import GridPoint
from callbacks.studies.mixed_versions import mixed_versions
from callbacks.studies.report import Section, write_report
from callbacks.studies.report_origin import Identities, refuse_poorer_report, write_origin
from callbacks.studies.store import Store, identity_hash
from callbacks.studies.study import PROTOCOLS, Study
from callbacks.studies.study_checks import found

TITLES = {"authors": "the authors' protocol", "careful": "the careful protocol"}


def write_sections(
    folder: Path,
    studies: Sequence[Study],
    identities: dict[str, Identities],
    store: Store,
    *,
    origin: Mapping[str, Any],
    command: str,
    failed: Mapping[str, str],
    title: str | None = None,
    keep_richer: bool = False,
) -> tuple[Path, str]:
    """Write the report of one study, or of several that belong together.

    Args:
        folder: Where to.
        studies: Their sections, in this order.
        identities: Points by study.
        store: Finished runs.
        origin: Which study it is, of :func:`report_origin`.
        command: How to make it again.
        failed: Why runs failed, by their name.
        title: Of a collection; those of its studies if it has none.
        keep_richer: Rather than replace a report of more networks, or write one of none, raise.

    Returns:
        The file ``report.md``, and in a few words what it is made of and what it lacks.

    Raises:
        FewerNetworks: As ``keep_richer`` says.
    """
    sections, notes = [], [f"Failed: {name}: {sentence}" for name, sentence in failed.items()]
    networks, seconds = 0, 0.0
    versions: dict[tuple[str, int], dict[str, str]] = {}  # of a network that studies share once
    for study in studies:
        results, of_study = _results(study, identities[study.name], store, versions)
        wanted = len(study.points()) * len(study.seeds)
        there = sum(len(point.seeds) for points in results.values() for point in points)
        if there < wanted:
            notes.append(f"{study.name}: {wanted - there:,} of {wanted:,} networks are not run")
        figures, lost = _figures(study, results)
        notes += [f"{study.name}: {sentence}" for sentence in lost]
        sections.append(Section(study, results, figures))
        networks, seconds = networks + there, seconds + of_study
    if keep_richer:
        refuse_poorer_report(folder, networks, store.folder)
    mixed = mixed_versions(versions.values())
    remarks = [mixed] if mixed else []
    report = write_report(
        folder, sections, command=command, notes=notes, remarks=remarks, title=title
    )
    write_origin(folder, origin, identities, networks)
    told = [f"{networks:,} networks, {seconds / 60:,.1f} minutes of training", *notes, *remarks]
    return report, "; ".join(told)


def _results(
    study: Study,
    identities: Identities,
    store: Store,
    versions: dict[tuple[str, int], dict[str, str]],
) -> tuple[dict[str, list[GridPoint]], float]:
    """Finished points by protocol, and the seconds that their runs took.

    The versions that trained each network are added to ``versions``, by its point and seed.
    """
    results: dict[str, list[GridPoint]] = {protocol: [] for protocol in PROTOCOLS}
    seconds = 0.0
    for point, identity in zip(study.points(), identities.values(), strict=True):
        finished = store.read(identity, study.seeds)
        if finished is not None:
            labels = {axis: value for axis, value in point.items() if axis != "protocol"}
            results[point["protocol"]].append(
                GridPoint(labels, finished.seeds, finished.metrics, finished.arrays)
            )
            seconds += finished.seconds
            names = [(identity_hash(identity), seed) for seed in finished.seeds]
            versions.update(zip(names, finished.versions, strict=True))
    return results, seconds


def _figures(study: Study, results: dict[str, list[GridPoint]]) -> tuple[dict[str, Any], list[str]]:
    """Figures by file name, and a sentence for each that could not be drawn.

    A study of which little is run may be too little for its figure; its tables are still wanted.
    """
    figures: dict[str, Any] = {}
    lost: list[str] = []
    if not study.figures or not any(results.values()):
        return figures, lost
    given = {
        name: found(entry["function"])(**entry.get("options", {}))
        for name, entry in study.arrays.items()
    }
    for entry in study.figures:
        for protocol in PROTOCOLS:
            if not results[protocol]:
                continue
            of = "authors' protocol" if protocol == "authors" else f"{protocol} protocol"
            name, title = f"{entry['name']}_{protocol}", f"{study.title}: {of}"
            if study.one_protocol:
                name, title = entry["name"], study.title
            title += " (quick version)" * study.is_quick
            options = {**given, **entry.get("options", {})}
            try:
                figure = found(entry["draw"])(results[protocol], title=title, **options)
                if not hasattr(figure, "savefig"):
                    raise ValueError(f"{entry['draw']} returned {figure!r}, which is no figure")
                figure.draw_without_rendering()  # bad math text is found when it is laid out
                figures[name] = figure
            except Exception as error:
                if os.environ.get("GLASSBOX_DEBUG"):
                    raise
                kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
                lost.append(f"{name} is not drawn: {kind}{' '.join(str(error).split())[:300]}")
    return figures, lost
