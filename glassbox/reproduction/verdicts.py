"""Compare a study's numbers with the published ones, row by row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from glassbox.reproduction.format import difference_text, number_text
from glassbox.reproduction.grid_labels import PROTOCOLS, matches
from glassbox.reproduction.grid_point import GridPoint
from glassbox.reproduction.rank_test import SIGNIFICANT, least_p, rank_difference_p
from glassbox.reproduction.schema import Table
from glassbox.reproduction.seed_statistics import Statistic, statistic_of
from glassbox.reproduction.validation import published_value

if TYPE_CHECKING:
    from glassbox.reproduction.study import Study

NOTHING = "–"
REPRODUCED = "reproduced"
WITHIN_QUARTILES = "reproduced (within quartiles)"
DIFFERS = "differs"
NOT_REPRODUCED = "not reproduced"
TOO_FEW = "too few seeds to tell"
AGREES = "agrees"
NOT_APART = "not clearly apart"
DEPENDS = "depends on the protocol"


@dataclass(frozen=True)
class Published:
    """A number of the paper and, if it shows them, quartiles over its seeds; inf is never."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """One grid point of a table."""

    labels: dict[str, str]  # axis -> value
    published: Published | None  # None where the paper gives no number
    authors: Statistic | None  # ours under the authors' protocol; None where it was not run
    careful: Statistic | None  # ours under the careful protocol, likewise
    # `REPRODUCED`, `WITHIN_QUARTILES`, `DIFFERS`, `NOT_REPRODUCED`, `TOO_FEW` or `NOTHING`: the
    # reference protocol against the published number
    outcome: str
    verdict: str  # the same in words, with the difference if there is one
    protocols: str  # whether the careful protocol agrees with the authors'
    # whether a number is published but the reference protocol has not been run
    lacks_run: bool = False


def table_rows(table: Table, study: Study, results: Mapping[str, Sequence[GridPoint]]) -> list[Row]:
    """Rows of a table in the grid's order, including points that were not run.

    A median is compared with the published value by the table's rule; one that would differ counts
    as reproduced if the published value lies between our quartiles. Counts are compared as
    fractions of ``published_seeds``; if ours come from fewer seeds and the difference is not
    significant, they are too few to tell.
    """
    points = {
        (protocol, *(str(point.labels[axis]) for axis in study.axes)): point
        for protocol, of_protocol in results.items()
        for point in of_protocol
    }
    rows = []
    for values in itertools.product(*study.axes.values()):
        labels = dict(zip(study.axes, values, strict=True))
        if not matches(labels, table.where):
            continue
        authors, careful = (
            statistic_of(table, points.get((protocol, *values))) for protocol in PROTOCOLS
        )
        published = _published(table, labels, study)
        by_careful = study.one_protocol or table.reference_protocol == "careful"
        ours = careful if by_careful else authors
        outcome, verdict = judge(table, published, ours)
        protocols = compare_protocols(table, authors, careful)
        lacks_run = published is not None and ours is None
        rows.append(
            Row(labels, published, authors, careful, outcome, verdict, protocols, lacks_run)
        )
    return rows


def judge(table: Table, published: Published | None, ours: Statistic | None) -> tuple[str, str]:
    """Outcome of one row (see :class:`Row`), and the verdict in words."""
    if published is None or ours is None:
        return NOTHING, NOTHING
    rule = table.verdict
    value = ours.count_of(table.published_seeds) if ours.is_count else ours.value
    distance = rule.distance(value, published.value)
    if _within(distance, rule.reproduced):
        return REPRODUCED, REPRODUCED
    if ours.is_count and _may_be_chance(ours, round(published.value), table.published_seeds):
        return TOO_FEW, TOO_FEW
    if not _within(distance, rule.differs):
        return NOT_REPRODUCED, NOT_REPRODUCED
    if not ours.is_count and ours.low <= published.value <= ours.high:
        return WITHIN_QUARTILES, WITHIN_QUARTILES
    if rule.kind == "ratio":
        return DIFFERS, f"differs by a factor of {value / published.value:.2g}"
    if ours.is_count:
        apart = value - published.value
        rounded = f"{abs(apart):.1f}".removesuffix(".0")
        return DIFFERS, f"differs by {'−' if apart < 0 else '+'}{rounded} {_of_seeds(table)}"
    difference = difference_text(value - published.value, table.counts_epochs)
    return DIFFERS, f"differs by {difference}"


def _may_be_chance(ours: Statistic, count: int, of: int) -> bool:
    """Whether counts of fewer seeds than the paper's do not differ significantly from its."""
    if ours.num_seeds >= of:
        return False
    theirs = [1.0] * count + [0.0] * (of - count)
    return rank_difference_p(ours.values, theirs) >= SIGNIFICANT


def compare_protocols(table: Table, authors: Statistic | None, careful: Statistic | None) -> str:
    """Whether two protocols agree by the table's rule, or differ significantly."""
    if authors is None or careful is None:
        return NOTHING
    of = table.published_seeds
    first, second = (s.count_of(of) if s.is_count else s.value for s in (authors, careful))
    if _within(table.verdict.distance(first, second), table.verdict.reproduced):
        return AGREES
    if least_p(len(authors.values), len(careful.values)) >= SIGNIFICANT:
        return TOO_FEW
    p = rank_difference_p(authors.values, careful.values)
    return DEPENDS if p < SIGNIFICANT else NOT_APART


def rule_text(table: Table) -> str:
    """The table's rule in one sentence, for numbers that are compared with published ones."""
    near, far = (_limit_text(table, x) for x in (table.verdict.reproduced, table.verdict.differs))
    of = "" if table.verdict.kind == "ratio" else " of the published value"
    return f"Reproduced: within {near}{of}; differs: within {far}."


def agreement_text(table: Table) -> str:
    """The table's rule in one sentence, where only the two protocols are compared."""
    near = _limit_text(table, table.verdict.reproduced)
    return f"The protocols agree: within {near} of each other."


def _limit_text(table: Table, limit: float) -> str:
    if table.verdict.kind == "ratio":
        return f"a factor of {limit:g}"
    if table.counts_seeds:
        return f"{limit:g} {_of_seeds(table)}"
    return number_text(limit, table.counts_epochs)


def _within(distance: float, limit: float) -> bool:
    # In binary 0.9 and 0.85 are a little more than 0.05 apart.
    return distance <= limit * (1 + 1e-9)


def _of_seeds(table: Table) -> str:
    return f"of {table.published_seeds} seeds"


def _published(table: Table, labels: dict[str, str], study: Study) -> Published | None:
    entry = published_value(table.published, labels, [*study.axes])
    if entry is None:
        return None
    numbers = entry if isinstance(entry, list) else [entry]
    return Published(*(math.inf if number == "never" else float(number) for number in numbers))
