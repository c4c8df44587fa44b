"""Make a report of finished runs: read their results, draw the figures, write all files."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glassbox.reproduction.earlier_reports import ReportedStudy, with_reported
from glassbox.reproduction.grid_labels import PROTOCOLS
from glassbox.reproduction.grid_point import GridPoint
from glassbox.reproduction.identity import identity_hash
from glassbox.reproduction.plan import Plan
from glassbox.reproduction.report import Section, write_report
from glassbox.reproduction.report_manifest import Identities, check_report_is_richer, manifest
from glassbox.reproduction.run_store import Store
from glassbox.reproduction.study import Study
from glassbox.reproduction.validation import import_function

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Packages that compute a run's numbers, and a checksum of the data where a data module reads some.
_COMPARED = ("torch", "lightning", "glassbox", "data")

Network = tuple[str, int]  # hash of a point, seed
Results = dict[str, list[GridPoint]]  # by protocol


def build_report(
    plan: Plan, store: Store, *, command: str, failed: Mapping[str, str], keep_richer: bool = False
) -> tuple[Path, str]:
    """Write a report of what is finished."""
    sections, notes = [], [f"Failed: {name}: {reason}" for name, reason in failed.items()]
    networks, trained, seconds = 0, 0, 0.0
    versions: dict[Network, dict[str, str]] = {}  # studies may share networks
    for study in plan.studies:
        reported = plan.reported.get(study.name, ReportedStudy())
        results, own, of_study = _read_results(plan, study, store, reported, versions)
        wanted = len(study.points()) * len(study.seeds)
        available = sum(len(point.seeds) for points in results.values() for point in points)
        if available < wanted:
            missing = wanted - available
            notes.append(f"{study.name}: {missing:,} of {wanted:,} networks are not run")
        figures, not_drawn = _draw_figures(study, results)
        earlier = {}
        for figure, reason in not_drawn.items():
            path = None if own == available or plan.is_part else reported.figure(study, figure)
            if path is not None:
                earlier[figure] = path
            how = "not drawn" if path is None else "the earlier report's, without new runs"
            notes.append(f"{study.name}: {figure} is {how}: {reason}")
        sections.append(Section(study, results, figures, earlier))
        networks, trained, seconds = networks + available, trained + own, seconds + of_study
    if keep_richer or failed:
        check_report_is_richer(plan.folder, networks, store.folder, bool(failed))
    mixed = mixed_versions(versions.values())
    remarks = [mixed] if mixed else []
    if taken := networks - trained:
        remarks.append(
            f"The numbers of {taken:,} of {networks:,} networks come from an earlier report, which "
            f"does not record package versions and data."
        )
    report = write_report(
        plan.folder,
        sections,
        command=command,
        notes=notes,
        remarks=remarks,
        title=plan.title,
        manifest=manifest(plan.origin, plan.identities, networks),
    )
    summary = f"{networks:,} networks, {seconds / 60:,.1f} minutes of training"
    summary += f" without the reported {taken:,}" if taken else ""
    return report, "; ".join([summary, *notes, *remarks])


def mixed_versions(networks: Iterable[Mapping[str, str]]) -> str | None:
    """Sentence on networks that were trained with different versions or on different data."""
    counts = Counter(
        tuple(versions.get(package, "unknown") for package in _COMPARED) for versions in networks
    )
    if len(counts) < 2:
        return None
    differing = [
        index for index in range(len(_COMPARED)) if len({each[index] for each in counts}) > 1
    ]
    parts = [
        f"{count:,} network{'s' if count != 1 else ''} with "
        + " and ".join(f"{_COMPARED[index]} {versions[index]}" for index in differing)
        for versions, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    if differing == [_COMPARED.index("data")]:
        return f"Trained on different data, so the numbers are not comparable: {', '.join(parts)}."
    return f"Trained with different versions, which may change last digits: {', '.join(parts)}."


def _read_results(
    plan: Plan,
    study: Study,
    store: Store,
    reported: ReportedStudy,
    versions: dict[Network, dict[str, str]],
) -> tuple[Results, int, float]:
    """Finished points, how many of their networks are in the store, and their seconds.

    The versions that trained each network are added to ``versions``.
    """
    results: Results = {protocol: [] for protocol in PROTOCOLS}
    trained, seconds = 0, 0.0
    identities: Identities = plan.identities[study.name]
    for point, identity in zip(study.points(), identities.values(), strict=True):
        runs, name = store.read(identity, study.seeds), identity_hash(identity)
        if runs is not None:
            trained, seconds = trained + len(runs.seeds), seconds + runs.seconds
            versions.update(zip([(name, s) for s in runs.seeds], runs.versions, strict=True))
        both = with_reported(runs, reported.points.get(name))
        if both is not None:
            labels = {axis: value for axis, value in point.items() if axis != "protocol"}
            known = None if both is runs else reported.known_metrics[name]
            results[point["protocol"]].append(
                GridPoint(labels, both.seeds, both.metrics, both.arrays, known)
            )
    return results, trained, seconds


def _draw_figures(study: Study, results: Results) -> tuple[dict[str, Figure], dict[str, str]]:
    """Figures by file name, and the reasons why others could not be drawn.

    A figure may need more points than are finished; the tables are wanted all the same.
    """
    figures: dict[str, Figure] = {}
    not_drawn: dict[str, str] = {}

    @functools.cache  # an array that cannot be made costs the figures, not the report
    def arrays() -> dict[str, Any]:
        return {
            name: import_function(array.function)(**array.options)
            for name, array in study.arrays.items()
        }

    for entry in study.figures:
        for protocol in PROTOCOLS:
            if not results[protocol]:
                continue
            name, title = entry.name, study.title
            if not study.one_protocol:
                name += f"_{protocol}"
                title += ": authors' protocol" if protocol == "authors" else ": careful protocol"
            title += " (quick version)" if study.is_quick else ""
            try:
                options = {**arrays(), **entry.options}
                figure = import_function(entry.function)(results[protocol], title=title, **options)
                if not hasattr(figure, "savefig"):
                    raise ValueError(f"{entry.function} returned {figure!r}, expected a Figure")
                figure.draw_without_rendering()  # raises on invalid math text
                figures[name] = figure
            except Exception as error:
                if os.environ.get("GLASSBOX_DEBUG"):
                    raise
                kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
                not_drawn[name] = f"{kind}{' '.join(str(error).split())[:300]}"
    return figures, not_drawn
