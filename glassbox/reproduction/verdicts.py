"""Published against measured: the rows of a study's table, and what its numbers say of each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from glassbox.reproduction.format import difference_text, number_text
from glassbox.reproduction.grid_point import GridPoint
from glassbox.reproduction.rank_test import CLEAR, least_p, rank_difference_p
from glassbox.reproduction.seed_statistics import Statistic, counts_seeds, is_epoch, statistic_of
from glassbox.reproduction.study import matches, published_value

if TYPE_CHECKING:
    from glassbox.reproduction.study import Study

NOTHING = "–"
REPRODUCED = "reproduced"
WITHIN_QUARTILES = "reproduced (within quartiles)"
DIFFERS = "differs"
NOT_REPRODUCED = "not reproduced"
TOO_FEW = "too few seeds to tell"
OUTCOMES = (REPRODUCED, WITHIN_QUARTILES, DIFFERS, NOT_REPRODUCED, TOO_FEW, NOTHING)
AGREES = "agrees"
NOT_APART = "not clearly apart"
DEPENDS = "depends on the protocol"


@dataclass(frozen=True)
class Published:
    """A number of the paper and, where it shows one, the spread over its seeds; inf is never."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Rule:
    """How far apart two numbers may be.

    Attributes:
        kind: ``absolute`` (the difference) or ``ratio`` (the larger over the smaller).
        reproduced: Largest distance of a reproduced number.
        differs: Largest distance of one that differs; beyond, it is not reproduced.
    """

    kind: str
    reproduced: float
    differs: float

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Rule:
        """The rule of a table: ``verdict: {absolute: [0.05, 0.2]}``."""
        ((kind, (reproduced, differs)),) = table["verdict"].items()
        return cls(kind, reproduced, differs)

    def distance(self, first: float, second: float) -> float:
        """Of two numbers; infinite where one alone is never, or a ratio makes no sense."""
        if first == second:
            return 0.0 if self.kind == "absolute" else 1.0
        if math.isinf(first) or math.isinf(second):
            return math.inf
        if self.kind == "absolute":
            return abs(first - second)
        return math.inf if first * second <= 0 else max(first / second, second / first)


@dataclass(frozen=True)
class Row:
    """One grid point of a table.

    Attributes:
        labels: Axis -> value.
        published: None where the paper gives no number.
        authors: Ours under the authors' protocol; None where it was not run.
        careful: Ours under the careful one, likewise.
        outcome: One of ``OUTCOMES``: authors' protocol against published, or the careful one where
            the table says ``judged: careful`` or there is no other.
        verdict: The same in words, with the difference where there is one.
        protocols: Whether the careful protocol agrees with the authors'.
        lacks_run: Whether there is a published number, and no run of ours to judge by it.
    """

    labels: dict[str, str]
    published: Published | None
    authors: Statistic | None
    careful: Statistic | None
    outcome: str
    verdict: str
    protocols: str
    lacks_run: bool = False


def table_rows(
    table: dict[str, Any], study: Study, results: Mapping[str, Sequence[GridPoint]]
) -> list[Row]:
    """The rows of a table, in the grid's order; points that were not run are among them.

    Args:
        table: One of the study's tables.
        study: Its axes make the rows.
        results: Protocol (``authors``, ``careful``) -> the points that have been run.

    Source of the verdicts: numbers only. A median is compared with the published value by the
    table's rule; one that would differ counts as reproduced where the published value lies between
    our quartiles. Counts are compared as shares of ``published_seeds`` (20 unless the table says
    otherwise); where ours are of fewer seeds, and chance would set them as far apart, they are too
    few to tell.
    """
    found = {
        (protocol, *(str(point.labels[axis]) for axis in study.axes)): point
        for protocol, points in results.items()
        for point in points
    }
    rows = []
    for values in itertools.product(*study.axes.values()):
        labels = dict(zip(study.axes, values, strict=True))
        if not matches(labels, table.get("where", {})):
            continue
        authors, careful = (
            statistic_of(table, found.get((protocol, *values)))
            for protocol in ("authors", "careful")
        )
        published = _published(table, labels, study)
        by_careful = study.one_protocol or table.get("judged") == "careful"
        judged = careful if by_careful else authors
        outcome, verdict = judge(table, published, judged)
        protocols = compare_protocols(table, authors, careful)
        lacks_run = published is not None and judged is None
        rows.append(
            Row(labels, published, authors, careful, outcome, verdict, protocols, lacks_run)
        )
    return rows


def judge(
    table: Mapping[str, Any], published: Published | None, ours: Statistic | None
) -> tuple[str, str]:
    """Outcome (one of ``OUTCOMES``) and verdict in words of one row."""
    if published is None or ours is None:
        return NOTHING, NOTHING
    rule = Rule.of(table)
    value = ours.count_of(published_seeds(table)) if ours.is_count else ours.value
    distance = rule.distance(value, published.value)
    if _within(distance, rule.reproduced):
        return REPRODUCED, REPRODUCED
    if ours.is_count and _could_be_chance(ours, round(published.value), published_seeds(table)):
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
        return DIFFERS, f"differs by {'−' if apart < 0 else '+'}{rounded} {_seeds(table)}"
    epochs = is_epoch(table["metric"], table.get("unit"))
    return DIFFERS, f"differs by {difference_text(value - published.value, epochs)}"


def _could_be_chance(ours: Statistic, count: int, of: int) -> bool:
    """Whether fewer seeds than the paper's have counts as far apart by chance."""
    if ours.num_seeds >= of:
        return False
    theirs = [1.0] * count + [0.0] * (of - count)
    return rank_difference_p(ours.values, theirs) >= CLEAR


def compare_protocols(
    table: Mapping[str, Any], authors: Statistic | None, careful: Statistic | None
) -> str:
    """Whether both protocols give the same by the table's rule, or how far their seeds differ."""
    if authors is None or careful is None:
        return NOTHING
    of = published_seeds(table)
    first, second = (s.count_of(of) if s.is_count else s.value for s in (authors, careful))
    rule = Rule.of(table)
    if _within(rule.distance(first, second), rule.reproduced):
        return AGREES
    if least_p(len(authors.values), len(careful.values)) >= CLEAR:
        return TOO_FEW
    return DEPENDS if rank_difference_p(authors.values, careful.values) < CLEAR else NOT_APART


def published_seeds(table: Mapping[str, Any]) -> int:
    """How many seeds the paper counts among."""
    return table.get("published_seeds", 20)


def rule_text(table: Mapping[str, Any]) -> str:
    """The table's rule in one sentence, for numbers that are compared with published ones."""
    rule = Rule.of(table)
    near, far = _limit_text(table, rule.reproduced), _limit_text(table, rule.differs)
    of = "" if rule.kind == "ratio" else " of the published value"
    return f"Reproduced: within {near}{of}; differs: within {far}."


def agreement_text(table: Mapping[str, Any]) -> str:
    """The table's rule in one sentence, where two protocols are all that there is to compare."""
    near = _limit_text(table, Rule.of(table).reproduced)
    return f"The protocols agree: within {near} of each other."


def _limit_text(table: Mapping[str, Any], limit: float) -> str:
    if Rule.of(table).kind == "ratio":
        return f"a factor of {limit:g}"
    if counts_seeds(table):
        return f"{limit:g} {_seeds(table)}"
    return number_text(limit, is_epoch(table["metric"], table.get("unit")))


def _within(distance: float, limit: float) -> bool:
    # In binary 0.9 and 0.85 are a little more than 0.05 apart.
    return distance <= limit * (1 + 1e-9)


def _seeds(table: Mapping[str, Any]) -> str:
    return f"of {published_seeds(table)} seeds"


def _published(table: Mapping[str, Any], labels: dict[str, str], study: Study) -> Published | None:
    if table.get("published") is None:
        return None
    entry = published_value(table["published"], labels, study.axes)
    if entry is None:
        return None
    if isinstance(entry, list | tuple):
        return Published(*map(_number, entry))
    return Published(_number(entry))


def _number(entry: float | str) -> float:
    return math.inf if entry == "never" else float(entry)
