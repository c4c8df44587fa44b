"""The report of a study: what was published, what came out, what follows, with figures and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from glassbox.reproduction.claims import JudgedClaim, judge_claim
from glassbox.reproduction.files import copy_file, write_figure, write_text
from glassbox.reproduction.grid_labels import matches
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


@dataclass(frozen=True)
class Section:
    """One study of a report.

    Attributes:
        study: Its tables and claims.
        results: Protocol (``authors``, ``careful``) -> the points that have been run.
        figures: File name without ending -> figure.
        earlier_figures: File name without ending -> that of an earlier report's figure, which
            cannot be drawn any more.
    """

    study: Study
    results: Mapping[str, Sequence[GridPoint]]
    figures: Mapping[str, Figure] = field(default_factory=dict)
    earlier_figures: Mapping[str, Path] = field(default_factory=dict)


def write_report(
    folder: Path,
    sections: Sequence[Section],
    *,
    command: str,
    notes: Sequence[str] = (),
    remarks: Sequence[str] = (),
    title: str | None = None,
) -> Path:
    """Write report.md, the figures as PNG and PDF, and the numbers as CSV.

    Beside ``report.md`` there are ``summary.csv`` (a line per row of a table and protocol),
    ``seeds.csv`` (a line per point, protocol and seed) and ``claims.csv``; with several sections
    every file but the report has its study's name before its own. Each file is replaced in one
    move, the report last.

    Args:
        folder: Made where it is missing.
        sections: One study, or those of a collection in order.
        command: What made this report.
        notes: What the report lacks, a line each: runs that are missing or failed.
        remarks: What a reader should know of how its runs were made, a line each.
        title: Of the report; that of the study if there is one only.

    Returns:
        The path of report.md.

    Raises:
        ValueError: There is no section, or a table or claim asks for a metric that holds names.
    """
    if not sections:
        raise ValueError("a report needs at least one study")
    folder.mkdir(parents=True, exist_ok=True)
    alone = len(sections) == 1
    title = title or "; ".join(section.study.title for section in sections)
    made = ["Made by", f"```bash\n{command}\n```"]
    if notes:
        made.append("\n".join(["Not complete:\n", *(f"- {note}" for note in notes)]))
    if remarks:
        made.append("\n".join(["To note:\n", *(f"- {remark}" for remark in remarks)]))
    parts = [f"# {title}", *_quick_line(sections)]
    if not alone:
        parts += made
    for section in sections:
        source, *rest = _section(folder, section, alone)
        parts += [source, *made, *rest] if alone else [f"# {section.study.title}", source, *rest]
    parts += ["## How to read this", HOW_TO_READ.rstrip()]
    if any(table.get("published") for section in sections for table in section.study.tables):
        parts.append(HOW_VERDICTS.rstrip())
    if not all(section.study.one_protocol for section in sections):
        parts.append(HOW_PROTOCOLS.rstrip())
    if any(section.study.claims for section in sections):
        parts.append(HOW_CLAIMS.rstrip())
    path = folder / "report.md"
    write_text(path, "\n\n".join(parts) + "\n")
    return path


def file_name(file: str, study: Study, alone: bool) -> str:
    """What a file is called in the report of one study alone, or of several."""
    stem = study.name.rsplit("/", 1)[-1]
    theirs = alone or file == stem or file.startswith(f"{stem}_")
    return file if theirs else f"{stem}_{file}"


def _section(folder: Path, section: Section, alone: bool) -> list[str]:
    """Write a section's files; returns its paragraphs, that of the source first."""
    study, results = section.study, section.results
    tables = [(table, table_rows(table, study, results)) for table in study.tables]
    claims = [judge_claim(claim, study, results) for claim in study.claims]
    rows = [row for _, of_table in tables for row in of_table]

    def name(file: str) -> str:
        return file_name(file, study, alone)

    for file, figure in section.figures.items():
        write_figure(folder, name(file), figure)
    for file, earlier in section.earlier_figures.items():
        for ending in ("png", "pdf"):
            copy_file(
                earlier.with_name(f"{earlier.name}.{ending}"), folder / f"{name(file)}.{ending}"
            )
    files = {"summary": name("summary.csv"), "seeds": name("seeds.csv")}
    write_summary(folder / files["summary"], study, tables)
    write_seeds(folder / files["seeds"], study, results)
    if claims:
        files["claims"] = name("claims.csv")
        write_claims(folder / files["claims"], claims, study)

    source = f"Source: {study.source}. {_seeds(study.seeds)}"
    parts = [
        source,
        f"Base configuration `{study.config.name}`, and on top of it",
        protocols_text(study),
    ]
    if not study.is_quick:
        parts += _in_short(rows, claims)
    for file in [*section.figures, *section.earlier_figures]:
        shown = name(file)
        parts.append(f"![{file.replace('_', ' ')}]({shown}.png)\n\n[{shown}.pdf]({shown}.pdf)")
    parts += [study_table(table, of_table, study) for table, of_table in tables]
    parts += _unmeasured(study, [point for found in results.values() for point in found])
    if claims:
        parts.append(claims_tables(claims, study))
    links = ", ".join(f"[{file}]({file})" for file in files.values())
    parts.append(f"Numbers: {links}.")
    return parts


def _in_short(rows: Sequence[Row], claims: Sequence[JudgedClaim]) -> list[str]:
    told = [*filter(None, [tally(rows)]), *([claims_tally(claims)] if claims else [])]
    return ["In short:", "\n".join(f"- {line}" for line in told)] if told else []


def _quick_line(sections: Sequence[Section]) -> list[str]:
    """The warning of a quick version; nothing for a full one."""
    quick = [section.study for section in sections if section.study.is_quick]
    if not quick:
        return []
    seeds = sorted({len(study.seeds) for study in quick})
    epochs = sorted({study.quick.get("set", {}).get("trainer.max_epochs") or 0 for study in quick})
    told = f"{_or(seeds)} seed{'s' if seeds != [1] else ''}"
    if all(epochs):
        told += f", {_or(epochs)} epochs"
    return [
        f"**Quick version: {told}. It shows that everything runs; its numbers say nothing about "
        f"the published ones.**"
    ]


def _or(numbers: Sequence[int]) -> str:
    return " or ".join(f"{number:,}" for number in numbers)


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"One seed, {seeds[0]}."
    if list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{len(seeds)} seeds, {seeds[0]} to {seeds[-1]}."
    return f"{len(seeds)} seeds: {', '.join(map(str, seeds))}."


def _unmeasured(study: Study, points: Sequence[GridPoint]) -> list[str]:
    """A line per metric that no run has of those it is asked of: it is likely misspelt."""
    asked = [
        ("table", table["name"], table["metric"], [table.get("where", {})])
        for table in study.tables
    ]
    for claim in study.claims:
        of = [claim.get("where", {}), claim.get("greater", claim.get("less", {}))]
        keys = [key for key in ("metric", "among") if key in claim]
        asked += [("claim", claim["says"], claim[key], of) for key in keys]
    lines = []
    for kind, name, metric, of in asked:
        found = [p for p in points if all(matches(p.labels, labels) for labels in of)]
        if found and not any(metric in point.metrics for point in found):
            lines.append(f'**No run has the metric `{metric}`** of the {kind} "{name}".')
    return lines
