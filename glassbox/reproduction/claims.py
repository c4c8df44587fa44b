"""Judge a paper's claims by the seeds of a study, under each protocol."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from glassbox.reproduction.format import number_text, statistic_text
from glassbox.reproduction.grid_labels import PROTOCOLS, matches
from glassbox.reproduction.grid_point import GridPoint
from glassbox.reproduction.rank_test import SIGNIFICANT, least_p, rank_difference_p
from glassbox.reproduction.schema import Claim
from glassbox.reproduction.seed_statistics import (
    Statistic,
    finite_or_none,
    median_and_quartiles,
)
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
_NEAR_MISS = 0.15  # 3 of 20 seeds

Values = list[float | None]  # one per seed; None (never) is greater than any number


@dataclass(frozen=True)
class Finding:
    """What the seeds of one protocol show about a claim, in one case."""

    # of two groups `HOLDS`, `NO_DIFFERENCE` or `REVERSE`, or `NEVER` for an epoch that no seed of
    # either group reaches. Against a number `HOLDS`, `MISSED` (by up to 3 of 20 seeds) or `NOT`.
    # `TOO_FEW` where groups of these sizes could not differ significantly, or where more seeds are
    # left out than count
    outcome: str
    first: Statistic | None  # seeds of the claim's group; None where all are left out
    second: Statistic | float | None  # seeds of the other group, likewise, or the number
    # probability of superiority: fraction of the pairs of seeds in the claimed order, ties counting
    # half. Against a number the fraction of seeds beyond it
    fraction: float
    p: float | None = None  # p-value of the rank-sum test; None against a number
    left_out: int = 0  # seeds without a value of `given_metric`, or of the metric itself


@dataclass(frozen=True)
class Case:
    """A claim for one combination of values of its ``for_each``."""

    labels: dict[str, str]  # that combination, axis -> value; empty without `for_each`
    authors: Finding | None  # None where it was not run
    careful: Finding | None  # likewise
    verdict: str  # over both protocols, or of the only one

    def finding(self, protocol: str) -> Finding | None:
        """The finding under ``authors`` or ``careful``."""
        return self.authors if protocol == "authors" else self.careful


@dataclass(frozen=True)
class JudgedClaim:
    """A claim with its cases in the grid's order, and one verdict over all of them."""

    claim: Claim
    cases: list[Case]
    verdict: str

    def count(self, protocol: str) -> tuple[int, int]:
        """Number of cases that hold under a protocol, and number of cases that were run."""
        findings = [case.finding(protocol) for case in self.cases]
        outcomes = [finding.outcome for finding in findings if finding is not None]
        return outcomes.count(HOLDS), len(outcomes)


def judge_claim(
    claim: Claim, study: Study, results: Mapping[str, Sequence[GridPoint]]
) -> JudgedClaim:
    """Judge a claim under both protocols."""
    cases = []
    for values in itertools.product(*(study.axes[axis] for axis in claim.for_each)):
        labels = dict(zip(claim.for_each, values, strict=True))
        if not matches(labels, {k: v for k, v in claim.where.items() if k in labels}):
            continue
        where = {**claim.where, **{axis: [value] for axis, value in labels.items()}}
        authors, careful = (
            _find(claim, [p for p in results.get(name, []) if matches(p.labels, where)])
            for name in PROTOCOLS
        )
        verdict = over_protocols(authors, careful)
        if study.one_protocol and careful is not None:
            verdict = careful.outcome
        cases.append(Case(labels, authors, careful, verdict))
    return JudgedClaim(claim, cases, over_cases([case.verdict for case in cases]))


def compare_groups(first: Values, second: Values, greater: bool, or_equal: bool = False) -> Finding:
    """Whether one group of seeds is significantly beyond another."""
    ours, theirs = median_and_quartiles(first), median_and_quartiles(second)
    fraction = superiority(first, second, greater)
    p = rank_difference_p(ours.values, theirs.values)
    if all(value is None for value in (*first, *second)):
        outcome = NEVER
    elif least_p(len(first), len(second)) >= SIGNIFICANT:
        outcome = TOO_FEW
    elif p >= SIGNIFICANT:
        outcome = HOLDS if or_equal else NO_DIFFERENCE
    else:
        outcome = HOLDS if fraction > 0.5 else REVERSE
    return Finding(outcome, ours, theirs, fraction, p)


def compare_number(
    values: Values, number: float, greater: bool, required: float, never_counts: bool = True
) -> Finding:
    """Whether at least a fraction of the seeds is beyond a number."""
    known: Values = [value for value in values if never_counts or value is not None]
    beyond = superiority(known, [number], greater, ties=0.0) if known else 0.0
    beyond *= len(known) / len(values)
    near = required - min(_NEAR_MISS, required / 2)
    # In binary, 14 of 20 is slightly below 0.7.
    missed = MISSED if beyond >= near - 1e-9 else NOT
    outcome = HOLDS if beyond >= required - 1e-9 else missed
    return Finding(outcome, median_and_quartiles(values), number, beyond)


def superiority(
    first: Values, second: Sequence[float | None], greater: bool, ties: float = 0.5
) -> float:
    """Fraction of the pairs (one of each) in which the first is beyond the second.

    Args:
        first: One per seed; None is greater than any number and equal to None.
        second: Likewise.
        greater: Whether beyond means greater; otherwise less.
        ties: What a pair of equals counts.

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
    """One verdict over both protocols."""
    if authors is None or careful is None:
        finding = authors or careful
        if finding is None:
            return NOT_RUN
        missing = "authors'" if authors is None else "careful"
        return f"{finding.outcome} ({missing} protocol not run)"
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
    if HOLDS not in outcomes:
        return NOT
    if MISSED in outcomes:
        return MISSED_AUTHORS if outcomes[0] == MISSED else MISSED_CAREFUL
    return AUTHORS_ONLY if outcomes[0] == HOLDS else CAREFUL_ONLY


def over_cases(verdicts: Sequence[str]) -> str:
    """One verdict over all cases: the common one, else how many cases have each."""
    counts = Counter(verdicts)
    if len(counts) < 2:
        return verdicts[0] if verdicts else NOT_RUN
    return "; ".join(f"{name}: {count} of {len(verdicts)}" for name, count in in_order(counts))


def in_order(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Verdicts and their counts, from those that hold to those not run."""
    order = [HOLDS, MISSED_CAREFUL, MISSED_AUTHORS, AUTHORS_ONLY, CAREFUL_ONLY]
    order += [CAREFUL_REVERSED, AUTHORS_REVERSED, MISSED, NO_DIFFERENCE, NOT, REVERSE]
    order += [NEVER, TOO_FEW]
    known = [verdict for verdict in order if verdict in counts]
    rest = [verdict for verdict in counts if verdict not in (*order, NOT_RUN)]
    named = [(verdict, counts[verdict]) for verdict in known + rest]
    return named + ([("not run", counts[NOT_RUN])] if NOT_RUN in counts else [])


def finding_text(finding: Finding | None, claim: Claim, expected_seeds: int) -> str:
    """The numbers behind a finding and its outcome, such as "19 of 20 above 0.99: holds"."""
    if finding is None:
        return NOT_RUN
    epochs = claim.counts_epochs
    left_out = f" ({finding.left_out} seeds left out)" if finding.left_out else ""
    if finding.first is None or finding.second is None:
        return f"no seed is left to compare{left_out}: {finding.outcome}"
    if not isinstance(finding.second, Statistic):
        seeds = finding.first.num_seeds
        relation = "above" if claim.side == "greater" else "below"
        number = number_text(finding.second, epochs)
        beyond = f"{round(finding.fraction * seeds)} of {seeds} {relation} {number}"
        return f"{beyond}{left_out}: {finding.outcome}"
    return (
        f"{statistic_text(finding.first, epochs, expected_seeds)} against "
        f"{statistic_text(finding.second, epochs, expected_seeds)}{left_out}, "
        f"P = {finding.fraction:.2f}, {_p_text(finding.p)}: {finding.outcome}"
    )


def _p_text(p: float | None) -> str:
    if p is None or p < 0.001:
        return "p < 0.001"
    rounded = f"{p:.2g}"
    # 0.0497 must not be rounded to 0.05, which is on the other side of the limit.
    crosses = (float(rounded) < SIGNIFICANT) != (p < SIGNIFICANT)
    return f"p = {p:.3g}" if crosses else f"p = {rounded}"


def _find(claim: Claim, points: Sequence[GridPoint]) -> Finding | None:
    """The finding of one protocol in one case; None where a group has not been run."""
    greater, than = claim.side == "greater", claim.than
    first, first_dropped = _values(claim, points, claim.group)
    if not isinstance(than, dict):
        if not first:
            none = Finding(TOO_FEW, None, float(than), math.nan, None, first_dropped)
            return none if first_dropped else None
        finding = compare_number(
            first, float(than), greater, claim.required_fraction, claim.counts_epochs
        )
        second_dropped = 0
        second: Values = []
    else:
        second, second_dropped = _values(claim, points, than)
        if not (first or first_dropped) or not (second or second_dropped):
            return None
        if not first or not second:
            ours, theirs = (
                median_and_quartiles(values) if values else None for values in (first, second)
            )
            dropped = first_dropped + second_dropped
            return Finding(TOO_FEW, ours, theirs, math.nan, None, dropped)
        finding = compare_groups(first, second, greater, claim.or_equal)
    if first_dropped > len(first) or second_dropped > len(second):
        finding = replace(finding, outcome=TOO_FEW)
    return replace(finding, left_out=first_dropped + second_dropped)


def _values(
    claim: Claim, points: Sequence[GridPoint], group: Mapping[str, Sequence[str]]
) -> tuple[Values, int]:
    """Values of the seeds of a group, and how many seeds are left out.

    Left out are seeds without a value of ``given_metric``; where groups are compared, also seeds
    without a value of the metric, unless it is an epoch, which they never reached.
    """
    keeps_missing = claim.counts_epochs or not isinstance(claim.than, dict)
    values: Values = []
    dropped = 0
    for point in points:
        if not matches(point.labels, group):
            continue
        measured = point.metric(claim.metric)
        given = point.metric(claim.given_metric or claim.metric)
        if measured is None or given is None:
            continue
        numbers = finite_or_none(measured, claim.metric)
        conditions = finite_or_none(given, claim.given_metric or claim.metric)
        for value, condition in zip(numbers, conditions, strict=True):
            excluded = claim.given_metric is not None and condition is None
            if excluded or (value is None and not keeps_missing):
                dropped += 1
            else:
                values.append(value)
    return values, dropped
