"""Statements of a paper, judged by the seeds of a study: which hold, and under which protocol."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from glassbox.reproduction.format import number_text, statistic_text
from glassbox.reproduction.grid_point import GridPoint
from glassbox.reproduction.rank_test import CLEAR, least_p, rank_difference_p
from glassbox.reproduction.seed_statistics import Statistic, finite_or_none, is_epoch, spread
from glassbox.reproduction.study import matches
from glassbox.reproduction.verdicts import TOO_FEW

if TYPE_CHECKING:
    from glassbox.reproduction.study import Study

HOLDS = "holds"
NO_DIFFERENCE = "no difference seen"
REVERSE = "the reverse holds"
NEVER = "never reached by either"
MISSED = "just missed"
NOT = "does not hold"
NOT_RUN = "–"
AUTHORS_ONLY = "depends on the protocol (holds under the authors' only)"
CAREFUL_ONLY = "holds under the careful protocol only"
AUTHORS_REVERSED = f"{CAREFUL_ONLY}, the reverse under the authors'"
CAREFUL_REVERSED = (
    "depends on the protocol (holds under the authors', the reverse under the careful one)"
)
MISSED_CAREFUL = "holds (just missed under the careful protocol)"
MISSED_AUTHORS = "holds (just missed under the authors' protocol)"
# Of twenty seeds as many as chance moves a count by: a share that lacks so much is not far off.
_NEARLY = 0.15

Values = list[float | None]  # one per seed; None, never reached, is greater than any number


@dataclass(frozen=True)
class Finding:
    """What the seeds of one protocol say of a claim, in one case.

    Attributes:
        outcome: Of two groups ``holds``, ``no difference seen`` or ``the reverse holds``; against
            a number ``holds``, ``just missed`` (by three seeds of twenty at most) or ``does not
            hold``. Of either ``too few seeds to tell``: where no two groups of these sizes could be
            clearly apart, or where more seeds are left out than count. ``never reached by either``:
            of an epoch that no seed of either group has.
        first: Of the seeds that should be beyond; None where all are left out.
        second: Of those, or the number, that they should be beyond; likewise.
        share: Probability of superiority: share of the pairs of seeds in the claimed order, ties
            counting half. Against a number the share of seeds beyond it.
        p: How often chance alone sets two such groups as far apart; None against a number.
        left_out: Seeds that do not count: without a value of the claim's ``among``, or of the
            metric itself.
    """

    outcome: str
    first: Statistic | None
    second: Statistic | float | None
    share: float
    p: float | None = None
    left_out: int = 0


@dataclass(frozen=True)
class Case:
    """A claim for one value of its ``for_each``.

    Attributes:
        labels: That value, axis -> value; empty without ``for_each``.
        authors: None where it was not run.
        careful: Likewise.
        verdict: Of both protocols together, or of the only one.
    """

    labels: dict[str, str]
    authors: Finding | None
    careful: Finding | None
    verdict: str


@dataclass(frozen=True)
class JudgedClaim:
    """A claim, its cases, and all of them in one line.

    Attributes:
        claim: As in the study.
        cases: One per value of ``for_each``, in the grid's order.
        verdict: ``holds``, or how many of the cases do.
    """

    claim: dict[str, Any]
    cases: list[Case]
    verdict: str

    def count(self, protocol: str) -> tuple[int, int]:
        """Cases that hold under a protocol, and cases that were run."""
        found: list[Finding | None] = [getattr(case, protocol) for case in self.cases]
        outcomes = [finding.outcome for finding in found if finding is not None]
        return outcomes.count(HOLDS), len(outcomes)


def judge_claim(
    claim: dict[str, Any], study: Study, results: Mapping[str, Sequence[GridPoint]]
) -> JudgedClaim:
    """Judge a claim of a study under both protocols.

    Args:
        claim: ``metric``, ``greater`` or ``less`` (these points), ``than`` (those points, or a
            number), and optionally ``for_each``, ``where``, ``share``, ``or_equal`` (two groups:
            holds unless the reverse does) and ``among`` (only seeds with a value of this metric).
        study: Its axes give the values of ``for_each``.
        results: Protocol -> the points that have been run.
    """
    where = claim.get("where", {})
    names = claim.get("for_each", [])
    axes = [names] if isinstance(names, str) else list(names)
    cases = []
    for values in itertools.product(*(study.axes[axis] for axis in axes)):
        labels = dict(zip(axes, values, strict=True))
        if not matches(labels, {axis: where[axis] for axis in axes if axis in where}):
            continue
        authors, careful = (
            _find(claim, [p for p in results.get(protocol, []) if _inside(p, labels, where)])
            for protocol in ("authors", "careful")
        )
        verdict = over_protocols(authors, careful)
        if study.one_protocol and careful is not None:
            verdict = careful.outcome
        cases.append(Case(labels, authors, careful, verdict))
    return JudgedClaim(claim, cases, over_cases([case.verdict for case in cases]))


def compare_groups(first: Values, second: Values, greater: bool, or_equal: bool = False) -> Finding:
    """Whether one group of seeds lies beyond another, by more than chance.

    Args:
        first: Of the seeds that should be beyond.
        second: Of the others.
        greater: Whether beyond means greater; otherwise less.
        or_equal: Whether no difference is enough.
    """
    one, two = spread(first), spread(second)
    share = superiority(first, second, greater)
    p = rank_difference_p(one.values, two.values)
    if all(value is None for value in (*first, *second)):
        outcome = NEVER  # of which nothing follows, not even that they are alike
    elif least_p(len(first), len(second)) >= CLEAR:  # nothing seen would mean nothing, either way
        outcome = TOO_FEW
    elif p >= CLEAR:
        outcome = HOLDS if or_equal else NO_DIFFERENCE
    else:
        outcome = HOLDS if share > 0.5 else REVERSE
    return Finding(outcome, one, two, share, p)


def compare_number(
    values: Values, number: float, greater: bool, share: float, never_counts: bool = True
) -> Finding:
    """Whether at least a share of the seeds lies beyond a number.

    Args:
        values: One per seed.
        number: That they should be beyond.
        greater: Whether beyond means greater; otherwise less.
        share: Of the seeds that must be.
        never_counts: Whether a missing value is an epoch never reached, later than any number;
            else a seed without a value is not beyond, whichever way.
    """
    known: Values = [value for value in values if never_counts or value is not None]
    beyond = superiority(known, [number], greater, ties=0.0) if known else 0.0
    beyond *= len(known) / len(values)
    # 0.7 of 20 seeds are 14, which binary rounding must not make 15.
    nearly = share - min(_NEARLY, share / 2)
    missed = MISSED if beyond >= nearly - 1e-9 else NOT
    outcome = HOLDS if beyond >= share - 1e-9 else missed
    return Finding(outcome, spread(values), number, beyond)


def superiority(
    first: Values, second: Sequence[float | None], greater: bool, ties: float = 0.5
) -> float:
    """Share of the pairs (one of each) in which the first is beyond the second.

    Args:
        first: One per seed.
        second: One per seed.
        greater: Whether beyond means greater; otherwise less.
        ties: What a pair of equals counts; two that never got there are equal.

    Source: Vargha and Delaney (2000), A = P(X > Y) + P(X = Y) / 2.
    """
    total = 0.0
    for one, two in itertools.product(first, second):
        if one == two:
            total += ties
        elif one is None or two is None:
            total += (one is None) == greater
        else:
            total += (one > two) == greater
    return total / (len(first) * len(second))


def over_protocols(authors: Finding | None, careful: Finding | None) -> str:
    """One verdict of both protocols."""
    if authors is None and careful is None:
        return NOT_RUN
    if authors is None or careful is None:
        one = authors or careful
        assert one is not None
        missing = "authors'" if authors is None else "careful"
        return f"{one.outcome} ({missing} protocol not run)"
    outcomes = (authors.outcome, careful.outcome)
    if outcomes[0] == outcomes[1]:
        return outcomes[0]
    silent = {TOO_FEW: "too few seeds", NEVER: "never reached"}
    if all(outcome in silent for outcome in outcomes):
        return TOO_FEW
    for outcome, other, protocol in ((*outcomes, "authors'"), (*outcomes[::-1], "careful")):
        if outcome in silent:
            return f"{other} ({silent[outcome]} under the {protocol} protocol)"
    if {*outcomes} == {HOLDS, REVERSE}:
        return AUTHORS_REVERSED if outcomes[1] == HOLDS else CAREFUL_REVERSED
    if HOLDS not in outcomes:  # the reverse under one of them, or far from enough seeds
        return NOT
    if MISSED in outcomes:
        return MISSED_AUTHORS if outcomes[0] == MISSED else MISSED_CAREFUL
    return AUTHORS_ONLY if outcomes[0] == HOLDS else CAREFUL_ONLY


def over_cases(verdicts: Sequence[str]) -> str:
    """One verdict of all cases: theirs where they agree, else how many have which."""
    counts = Counter(verdicts)
    if len(counts) < 2:
        return verdicts[0] if verdicts else NOT_RUN
    return "; ".join(f"{name}: {count} of {len(verdicts)}" for name, count in in_order(counts))


def in_order(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Verdicts and how many there are of each, from those that hold to those not run."""
    order = [HOLDS, MISSED_CAREFUL, MISSED_AUTHORS, AUTHORS_ONLY, CAREFUL_ONLY]
    order += [CAREFUL_REVERSED, AUTHORS_REVERSED, MISSED, NO_DIFFERENCE, NOT, REVERSE]
    order += [NEVER, TOO_FEW]
    known = [verdict for verdict in order if verdict in counts]
    rest = [verdict for verdict in counts if verdict not in (*order, NOT_RUN)]
    named = [(verdict, counts[verdict]) for verdict in known + rest]
    return named + ([("not run", counts[NOT_RUN])] if NOT_RUN in counts else [])


def finding_text(finding: Finding | None, claim: Mapping[str, Any], expected_seeds: int) -> str:
    """The numbers behind a finding and what follows, such as "19 of 20 above 0.99: holds"."""
    if finding is None:
        return NOT_RUN
    epochs = is_epoch(claim["metric"], claim.get("unit"))
    left_out = f" ({finding.left_out} seeds left out)" if finding.left_out else ""
    if finding.first is None or finding.second is None:
        return f"no seed is left to compare{left_out}: {finding.outcome}"
    if not isinstance(finding.second, Statistic):
        seeds = finding.first.num_seeds
        side = "above" if "greater" in claim else "below"
        number = number_text(finding.second, epochs)
        beyond = f"{round(finding.share * seeds)} of {seeds} {side} {number}"
        return f"{beyond}{left_out}: {finding.outcome}"
    return (
        f"{statistic_text(finding.first, epochs, expected_seeds)} against "
        f"{statistic_text(finding.second, epochs, expected_seeds)}{left_out}, "
        f"P = {finding.share:.2f}, {_p_text(finding.p)}: {finding.outcome}"
    )


def _p_text(p: float | None) -> str:
    if p is None or p < 0.001:
        return "p < 0.001"
    two = f"{p:.2g}"
    # Not "p = 0.05" of 0.0497, which is on the other side of the limit.
    return f"p = {p:.3g}" if (float(two) < CLEAR) != (p < CLEAR) else f"p = {two}"


def _inside(point: GridPoint, labels: Mapping[str, str], where: Mapping[str, Any]) -> bool:
    return matches(point.labels, labels) and matches(point.labels, where)


def _find(claim: Mapping[str, Any], points: Sequence[GridPoint]) -> Finding | None:
    """The finding of one protocol in one case; None where seeds of either side are missing."""
    greater, than = "greater" in claim, claim["than"]
    first, dropped = _values(claim, points, claim["greater" if greater else "less"])
    second, of_second = _values(claim, points, than) if isinstance(than, Mapping) else ([], 0)
    if not first or (isinstance(than, Mapping) and not second):
        if not (first or dropped) or (isinstance(than, Mapping) and not (second or of_second)):
            return None
        sides = [spread(values) if values else None for values in (first, second)]
        number = None if isinstance(than, Mapping) else float(than)
        return Finding(TOO_FEW, sides[0], sides[1] or number, math.nan, None, dropped + of_second)
    if isinstance(than, Mapping):
        finding = compare_groups(first, second, greater, claim.get("or_equal", False))
    else:
        never_counts = is_epoch(claim["metric"], claim.get("unit"))
        share = claim.get("share", 0.75)
        finding = compare_number(first, float(than), greater, share, never_counts)
    few = dropped > len(first) or of_second > len(second)
    outcome = TOO_FEW if few else finding.outcome
    return replace(finding, outcome=outcome, left_out=dropped + of_second)


def _values(
    claim: Mapping[str, Any], points: Sequence[GridPoint], chosen: Mapping[str, Any]
) -> tuple[Values, int]:
    """The seeds of all chosen points, and how many more are left out.

    Those are the seeds without a value of ``among``; where groups are compared, also those without
    one of the metric, unless it is an epoch, which they never reached.
    """
    metric, among = claim["metric"], claim.get("among", claim["metric"])
    kept = is_epoch(metric, claim.get("unit")) or not isinstance(claim["than"], Mapping)
    found: Values = []
    dropped = 0
    for point in points:
        if matches(point.labels, chosen) and {metric, among} <= set(point.metrics):
            values = finite_or_none(point.metrics[metric], metric)
            others = finite_or_none(point.metrics[among], among)
            for value, other in zip(values, others, strict=True):
                if ("among" in claim and other is None) or (value is None and not kept):
                    dropped += 1
                else:
                    found.append(value)
    return found, dropped
