"""Write a report: report.md, the figures, the numbers as CSV, and the manifest study.json."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from glassbox.reproduction.claims import JudgedClaim, judge_claim
from glassbox.reproduction.files import replacing_together, write_figure, write_text
from glassbox.reproduction.grid_labels import Selection, matches
from glassbox.reproduction.grid_point import GridPoint
from glassbox.reproduction.report_csv import write_claims, write_summary
from glassbox.reproduction.report_markdown import (
    HOW_CLAIMS,
    HOW_PROTOCOLS,
    HOW_TO_READ,
    HOW_VERDICTS,
    claims_tables,
    claims_tally,
    protocols_text,
    study_table,
    tally,
)
from glassbox.reproduction.seeds_csv import write_seeds
from glassbox.reproduction.verdicts import Row, table_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from glassbox.reproduction.study import Study

FIGURE_FORMATS = ("png", "pdf")


@dataclass(frozen=True)
class Section:
    """One study of a report."""

    study: Study  # its tables and claims
    # protocol (`authors`, `careful`) -> the points that have been run
    results: Mapping[str, Sequence[GridPoint]]
    # file name without ending -> figure
    figures: Mapping[str, Figure] = field(default_factory=dict)
    # file name without ending -> that of an earlier report's figure, for figures that cannot be
    # drawn from the results
    earlier_figures: Mapping[str, Path] = field(default_factory=dict)


def write_report(
    folder: Path,
    sections: Sequence[Section],
    *,
    command: str,
    notes: Sequence[str] = (),
    remarks: Sequence[str] = (),
    title: str | None = None,
    manifest: Mapping[str, object] | None = None,
) -> Path:
    """Write report.md with its figures (PNG and PDF), numbers (CSV) and manifest.

    Beside ``report.md`` there are ``summary.csv`` (a line per table row and protocol),
    ``seeds.csv`` (a line per point, protocol and seed), ``claims.csv`` and ``study.json``; with
    several sections each CSV and figure has its study's name in front. All files are written
    before the first one is replaced.
    """
    alone = len(sections) == 1
    header = ["Made by", f"```bash\n{command}\n```"]
    if notes:
        header.append("\n".join(["Not complete:\n", *(f"- {note}" for note in notes)]))
    if remarks:
        header.append("\n".join(["To note:\n", *(f"- {remark}" for remark in remarks)]))
    parts = [f"# {title or '; '.join(section.study.title for section in sections)}"]
    parts += _quick_warning(sections)
    with replacing_together(folder) as scratch:
        if alone:
            source, *rest = _write_section(scratch, sections[0], alone)
            parts += [source, *header, *rest]
        else:
            parts += header
            for section in sections:
                parts += [
                    f"# {section.study.title}",
                    *_write_section(scratch, section, alone),
                ]
        parts += _how_to_read(sections)
        write_text(scratch / "report.md", "\n\n".join(parts) + "\n")
        if manifest is not None:
            write_text(scratch / "study.json", json.dumps(manifest, indent=1) + "\n")
    return folder / "report.md"


def file_name(file: str, study: Study, alone: bool) -> str:
    """Name of a study's file in its own report, or in that of several studies."""
    stem = study.name.rsplit("/", 1)[-1]
    has_stem = alone or file == stem or file.startswith(f"{stem}_")
    return file if has_stem else f"{stem}_{file}"


def _write_section(folder: Path, section: Section, alone: bool) -> list[str]:
    """Write a section's files; returns its paragraphs, the source first."""
    study, results = section.study, section.results
    tables = [(table, table_rows(table, study, results)) for table in study.tables]
    claims = [judge_claim(claim, study, results) for claim in study.claims]

    def name(file: str) -> str:
        return file_name(file, study, alone)

    for file, figure in section.figures.items():
        write_figure(folder, name(file), figure)
    for file, earlier in section.earlier_figures.items():
        for ending in FIGURE_FORMATS:
            source = earlier.with_name(f"{earlier.name}.{ending}")
            shutil.copyfile(source, folder / f"{name(file)}.{ending}")
    files = [name("summary.csv"), name("seeds.csv")]
    write_summary(folder / files[0], study, tables)
    write_seeds(folder / files[1], study, results)
    if claims:
        files.append(name("claims.csv"))
        write_claims(folder / files[-1], claims, study)

    parts = [
        f"Source: {study.source}. {_seeds(study.seeds)}",
        f"Base configuration `{study.config.name}`, and on top of it",
        protocols_text(study),
    ]
    if not study.is_quick:
        parts += _summary([row for _, rows in tables for row in rows], claims)
    for file in [*section.figures, *section.earlier_figures]:
        shown = name(file)
        parts.append(f"![{file.replace('_', ' ')}]({shown}.png)\n\n[{shown}.pdf]({shown}.pdf)")
    parts += [study_table(table, rows, study) for table, rows in tables]
    parts += _unmeasured(study, [point for points in results.values() for point in points])
    if claims:
        parts.append(claims_tables(claims, study))
    return [*parts, f"Numbers: {', '.join(f'[{file}]({file})' for file in files)}."]


def _summary(rows: Sequence[Row], claims: Sequence[JudgedClaim]) -> list[str]:
    lines = [tally(rows), claims_tally(claims) if claims else ""]
    shown = [f"- {line}" for line in lines if line]
    return ["In short:", "\n".join(shown)] if shown else []


def _how_to_read(sections: Sequence[Section]) -> list[str]:
    studies = [section.study for section in sections]
    parts = ["## How to read this", HOW_TO_READ]
    if any(table.published for study in studies for table in study.tables):
        parts.append(HOW_VERDICTS)
    if not all(study.one_protocol for study in studies):
        parts.append(HOW_PROTOCOLS)
    if any(study.claims for study in studies):
        parts.append(HOW_CLAIMS)
    return [part.rstrip() for part in parts]


def _quick_warning(sections: Sequence[Section]) -> list[str]:
    """Warning of a quick version; empty for a full one."""
    quick = [section.study for section in sections if section.study.is_quick]
    if not quick:
        return []
    seeds = sorted({len(study.seeds) for study in quick})
    epochs = sorted({study.quick.set.get("trainer.max_epochs") or 0 for study in quick})
    text = f"{_alternatives(seeds)} seed{'s' if seeds != [1] else ''}"
    if all(epochs):
        text += f", {_alternatives(epochs)} epochs"
    return [
        f"**Quick version: {text}. It shows that everything runs; its numbers say nothing about "
        f"the published ones.**"
    ]


def _alternatives(numbers: Sequence[int]) -> str:
    return " or ".join(f"{number:,}" for number in numbers)


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"One seed, {seeds[0]}."
    if list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{len(seeds)} seeds, {seeds[0]} to {seeds[-1]}."
    return f"{len(seeds)} seeds: {', '.join(map(str, seeds))}."


def _unmeasured(study: Study, points: Sequence[GridPoint]) -> list[str]:
    """A line per metric that no run of a table's or a claim's points has: likely misspelled."""
    uses: list[tuple[str, str, str, list[Selection]]] = [
        ("table", table.name, table.metric, [table.where]) for table in study.tables
    ]
    for claim in study.claims:
        for metric in filter(None, [claim.metric, claim.given_metric]):
            uses.append(("claim", claim.statement, metric, [claim.where, claim.group]))
    lines = []
    for kind, name, metric, wheres in uses:
        used = [p for p in points if all(matches(p.labels, where) for where in wheres)]
        if used and all(point.metric(metric) is None for point in used):
            lines.append(f'**No run has the metric `{metric}`** of the {kind} "{name}".')
    return lines
