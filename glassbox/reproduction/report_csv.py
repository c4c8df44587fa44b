"""Write the numbers behind a report's tables and claims as CSV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glassbox.reproduction.claims import JudgedClaim
from glassbox.reproduction.files import write_csv
from glassbox.reproduction.schema import Table
from glassbox.reproduction.seed_statistics import Statistic
from glassbox.reproduction.verdicts import Row

if TYPE_CHECKING:
    from glassbox.reproduction.study import Study


def write_summary(path: Path, study: Study, tables: Sequence[tuple[Table, list[Row]]]) -> None:
    """One line per table row and protocol; infinite numbers are written as never.

    The authors' line has the verdict, the careful line whether it agrees with the authors'.
    """
    columns = ["table", "metric", "statistic", *study.axes, "protocol", "value", "q25", "q75"]
    columns += ["seeds", "seeds_without_value", "published", "published_low", "published_high"]
    lines: list[dict[str, object]] = []
    for table, rows in tables:
        what = {"table": table.name, "metric": table.metric, "statistic": table.statistic}
        for row in rows:
            published: dict[str, object] = {}
            if row.published is not None:
                published = {
                    "published": _number(row.published.value),
                    "published_low": _number(row.published.low),
                    "published_high": _number(row.published.high),
                }
            lines_of = [
                ("authors", row.authors, row.verdict),
                ("careful", row.careful, row.verdict if study.one_protocol else row.protocols),
            ]
            for protocol, statistic, verdict in lines_of[study.one_protocol :]:
                line = {**what, **row.labels, "protocol": protocol, **_numbers(statistic)}
                lines.append({**line, **published, "verdict": verdict})
    write_csv(path, [*columns, "verdict"], lines)


def write_claims(path: Path, judged: Sequence[JudgedClaim], study: Study) -> None:
    """One line per claim, case and protocol."""
    columns = ["claim", "metric", "for", "protocol", "outcome", "over_both_protocols"]
    columns += [f"{side}_{key}" for side in ("first", "second") for key in _KEYS]
    lines: list[dict[str, object]] = []
    for result in judged:
        for case in result.cases:
            findings = [("authors", case.authors), ("careful", case.careful)]
            for protocol, finding in findings[study.one_protocol :]:
                line: dict[str, object] = {
                    "claim": result.claim.statement,
                    "metric": result.claim.metric,
                    "for": ", ".join(case.labels.values()),
                    "protocol": protocol,
                    "over_both_protocols": case.verdict,
                }
                if finding is not None:
                    line |= {"outcome": finding.outcome, "share": _number(finding.fraction)}
                    line |= {"p": _number(finding.p)} if finding.p is not None else {}
                    line |= {f"first_{k}": v for k, v in _numbers(finding.first).items()}
                    second = finding.second
                    line |= (
                        {f"second_{k}": v for k, v in _numbers(second).items()}
                        if isinstance(second, Statistic)
                        else {"second_value": _number(second)}
                    )
                lines.append(line)
    write_csv(path, [*columns, "share", "p"], lines)


_KEYS = ("value", "q25", "q75", "seeds", "seeds_without_value")


def _numbers(statistic: Statistic | None) -> dict[str, object]:
    if statistic is None:
        return {}
    quartiles = ("", "") if statistic.is_count else map(_number, (statistic.low, statistic.high))
    cells = (_number(statistic.value), *quartiles, statistic.num_seeds, statistic.num_missing)
    return dict(zip(_KEYS, cells, strict=True))


def _number(value: float | None) -> str:
    """Ten significant digits, more than float32 has."""
    if value is None or math.isnan(value):
        return ""
    return "never" if math.isinf(value) else f"{value:.10g}"
