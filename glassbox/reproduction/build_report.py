"""From finished runs to a report: reads a study's results back, draws, and writes."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from glassbox.reproduction.earlier_reports import ReportedStudy, with_reported
from glassbox.reproduction.grid_point import GridPoint
from glassbox.reproduction.plan import Plan
from glassbox.reproduction.report import Section, write_report
from glassbox.reproduction.report_manifest import Identities, refuse_poorer_report, write_origin
from glassbox.reproduction.run_store import Store, identity_hash
from glassbox.reproduction.schema import found
from glassbox.reproduction.seeds_csv import PartialMetrics
from glassbox.reproduction.study import PROTOCOLS, Study

# Of the packages whose versions a run keeps, those that compute its numbers; and a checksum of the
# data, of data modules that read some.
_COMPARED = ("torch", "lightning", "glassbox", "data")


def mixed_versions(networks: Iterable[Mapping[str, str]]) -> str | None:
    """A line that says which versions there are, and how many networks each has trained.

    Args:
        networks: Of every network the version of each package by its name; one that is not there
            is called unknown.

    Returns:
        The line, most networks first; None where all are the same.
    """
    found = Counter(
        tuple(versions.get(package, "unknown") for package in _COMPARED) for versions in networks
    )
    if len(found) < 2:
        return None
    told = [i for i in range(len(_COMPARED)) if len({versions[i] for versions in found}) > 1]
    parts = [
        f"{count:,} network{'s' if count != 1 else ''} with "
        + " and ".join(f"{_COMPARED[i]} {versions[i]}" for i in told)
        for versions, count in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    ]
    if told == [_COMPARED.index("data")]:
        return f"Trained on different data, which do not belong together: {', '.join(parts)}."
    return f"Trained with different versions, which may change last digits: {', '.join(parts)}."


TITLES = {"authors": "the authors' protocol", "careful": "the careful protocol"}


def write_sections(
    plan: Plan, store: Store, *, command: str, failed: Mapping[str, str], keep_richer: bool = False
) -> tuple[Path, str]:
    """Write a report from what is finished.

    Args:
        plan: Of what, and where to.
        store: Finished runs.
        command: How to make it again.
        failed: Why runs failed, by their name.
        keep_richer: Rather than replace a report of more networks, or write one of none, raise.
            Where runs failed a report of more is never replaced.

    Returns:
        The file ``report.md``, and in a few words what it is made of and what it lacks.

    Raises:
        IncompleteReportError: As ``keep_richer`` says.
    """
    sections, notes = [], [f"Failed: {name}: {sentence}" for name, sentence in failed.items()]
    networks, trained, seconds = 0, 0, 0.0
    versions: dict[tuple[str, int], dict[str, str]] = {}  # of a network that studies share once
    for study in plan.studies:
        known = plan.reported.get(study.name, ReportedStudy())
        results, own, of_study = _results(
            study, plan.identities[study.name], store, known, versions
        )
        wanted = len(study.points()) * len(study.seeds)
        there = sum(len(point.seeds) for points in results.values() for point in points)
        if there < wanted:
            notes.append(f"{study.name}: {wanted - there:,} of {wanted:,} networks are not run")
        figures, lost = _figures(study, results)
        earlier = {
            figure: path
            for figure in lost
            if own < there and not plan.is_part
            if (path := known.figure(study, figure)) is not None
        }
        for figure, reason in lost.items():
            how = "the earlier report's, without what was run since"
            how = how if figure in earlier else "not drawn"
            notes.append(f"{study.name}: {figure} is {how}: {reason}")
        sections.append(Section(study, results, figures, earlier))
        networks, trained, seconds = networks + there, trained + own, seconds + of_study
    if keep_richer or failed:
        refuse_poorer_report(plan.folder, networks, store.folder, bool(failed))
    mixed = mixed_versions(versions.values())
    remarks = [mixed] if mixed else []
    if taken := networks - trained:
        remarks.append(
            f"Of {taken:,} of {networks:,} networks the numbers are an earlier report's, which "
            f"does not tell which versions trained them, and on which data."
        )
    report = write_report(
        plan.folder, sections, command=command, notes=notes, remarks=remarks, title=plan.title
    )
    write_origin(plan.folder, plan.origin, plan.identities, networks)
    words = f"{networks:,} networks, {seconds / 60:,.1f} minutes of training"
    words += f" without the reported {taken:,}" * bool(taken)
    told = [words, *notes, *remarks]
    return report, "; ".join(told)


Results = dict[str, list[GridPoint]]  # by protocol


def _results(
    study: Study,
    identities: Identities,
    store: Store,
    reported: ReportedStudy,
    versions: dict[tuple[str, int], dict[str, str]],
) -> tuple[Results, int, float]:
    """Finished points; how many networks of them are in the store; their seconds.

    The versions that trained each network are added to ``versions``, by its point and seed.
    """
    results: Results = {protocol: [] for protocol in PROTOCOLS}
    trained, seconds = 0, 0.0
    for point, identity in zip(study.points(), identities.values(), strict=True):
        runs, name = store.read(identity, study.seeds), identity_hash(identity)
        if runs is not None:
            trained, seconds = trained + len(runs.seeds), seconds + runs.seconds
            names = [(name, seed) for seed in runs.seeds]
            versions.update(zip(names, runs.versions, strict=True))
        known = with_reported(runs, reported.points.get(name))
        if known is not None:
            labels = {axis: value for axis, value in point.items() if axis != "protocol"}
            metrics, arrays = known.metrics, known.arrays
            if known is not runs:
                metrics, arrays = (
                    PartialMetrics(metrics, reported.told[name]),
                    PartialMetrics(arrays, ()),
                )
            results[point["protocol"]].append(GridPoint(labels, known.seeds, metrics, arrays))
    return results, trained, seconds


def _figures(study: Study, results: Results) -> tuple[dict[str, Any], dict[str, str]]:
    """Figures by file name, and why others could not be drawn.

    A study of which little is run may be too little for its figure; its tables are still wanted.
    """
    figures: dict[str, Any] = {}
    lost: dict[str, str] = {}
    if not study.figures or not any(results.values()):
        return figures, lost

    @functools.cache  # made once, within the figure that fails where it cannot be made
    def given() -> dict[str, Any]:
        return {
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
            try:
                options = {**given(), **entry.get("options", {})}
                figure = found(entry["draw"])(results[protocol], title=title, **options)
                if not hasattr(figure, "savefig"):
                    raise ValueError(f"{entry['draw']} returned {figure!r}, which is no figure")
                figure.draw_without_rendering()  # bad math text is found when it is laid out
                figures[name] = figure
            except Exception as error:
                if os.environ.get("GLASSBOX_DEBUG"):
                    raise
                kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
                lost[name] = f"{kind}{' '.join(str(error).split())[:300]}"
    return figures, lost
