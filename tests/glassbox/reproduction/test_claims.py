"""Claims are judged by seeds: ranks against chance, shares, both protocols."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, rankdata

from glassbox.reproduction.claims import (
    compare_groups,
    compare_number,
    finding_text,
    judge_claim,
    superiority,
)
from glassbox.reproduction.grid_point import GridPoint
from glassbox.reproduction.rank_test import least_p, rank_difference_p
from glassbox.reproduction.report_markdown import claims_tally
from glassbox.reproduction.schema import Claim, read_entry
from glassbox.reproduction.study import Study

TASKS = ("x", "y", "z")
EPOCH = "generalization/test_epoch"
STUDY = Study(
    name="paper/one",
    title="One",
    source="here",
    config=Path("base.yaml"),
    seeds=[0, 1, 2],
    axes={"task": {task: {} for task in TASKS}, "model": {"old": {}, "new": {}}},
    protocols={"authors": {}, "careful": {}},
)


def claim(**changes) -> Claim:
    """Claim that model new has greater values than model old, for each task."""
    entry = {
        "statement": "new is greater",
        "metric": "m",
        "greater": {"model": "new"},
        "than": {"model": "old"},
        "for_each": "task",
        **changes,
    }
    return read_entry(Claim, entry, "claim")


OF_X = {"where": {"task": "x"}}
LOW = [0.1, 0.12, 0.2, 0.22, 0.3, 0.32]
MIDDLE = [value + 0.01 for value in LOW]
HIGH = [value + 0.6 for value in LOW]


def points(metric="m", **of_task):
    """Points of both models for each task: x=(old, new)."""
    return [
        GridPoint(
            {"task": task, "model": model},
            range(len(values)),
            {metric: np.array([math.nan if v is None else v for v in values])},
            {},
        )
        for task, pair in of_task.items()
        for model, values in zip(("old", "new"), pair, strict=True)
    ]


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        (HIGH, LOW, "holds"),
        (MIDDLE, LOW, "no difference seen"),
        (LOW, HIGH, "the reverse holds"),
        (LOW, LOW, "no difference seen"),
        ([5] * 6, [5] * 6, "no difference seen"),
        ([None] * 6, HIGH, "holds"),
        ([1, None, None, None], [2, 3, None, None], "no difference seen"),
        ([None] * 6, [None] * 6, "never reached by either"),
        # Three against three are never clear: two divisions of twenty are in order by chance.
        (HIGH[:3], LOW[:3], "too few seeds to tell"),
        (LOW[:1], LOW[:20], "too few seeds to tell"),
        (HIGH[:4], LOW[:4], "holds"),
    ],
)
def test_a_group_is_greater_where_chance_would_hardly_set_it_apart(first, second, outcome):
    assert compare_groups(first, second, greater=True).outcome == outcome
    # The same statement the other way round.
    assert compare_groups(second, first, greater=False).outcome == outcome


def test_comparable_or_greater_fails_where_the_reverse_is_clear():
    for first, second, outcome in (
        (HIGH, LOW, "holds"),
        (MIDDLE, LOW, "holds"),
        (LOW, HIGH, "the reverse holds"),
        (LOW[:3], HIGH[:3], "too few seeds to tell"),  # or any three seeds would make it hold
        (HIGH[:3], LOW[:3], "too few seeds to tell"),
    ):
        assert compare_groups(first, second, True, or_equal=True).outcome == outcome


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 2.0])
def test_p_agrees_with_mann_and_whitneys(shift):
    generator = np.random.default_rng(int(10 * shift))
    first, second = generator.normal(shift, 1, 20), generator.normal(0, 1, 15)
    first[0] = second[0]  # a tie
    exact = mannwhitneyu(first, second, method="asymptotic").pvalue
    assert rank_difference_p(first, second) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize(("size", "other"), [(1, 5), (3, 3), (4, 6), (7, 5)])
def test_p_is_the_share_of_all_divisions_that_are_as_extreme(size, other):
    generator = np.random.default_rng(size)
    values = generator.integers(0, 5, size + other).astype(float)  # with ties
    values[-1] = math.inf
    ranks, mean = rankdata(values), size * (size + other + 1) / 2
    distances = [
        abs(ranks[list(chosen)].sum() - mean)
        for chosen in itertools.combinations(range(size + other), size)
    ]
    expected = np.mean(np.array(distances) >= distances[0])
    assert rank_difference_p(values[:size], values[size:]) == pytest.approx(expected)
    assert least_p(size, other) == pytest.approx(2 / len(distances))


def test_p_of_large_groups_is_the_normal_one_without_a_step():
    generator = np.random.default_rng(5)
    first, second = generator.normal(0.3, 1, 60), generator.normal(0, 1, 60)
    counted = rank_difference_p(first, second)
    assert counted == pytest.approx(mannwhitneyu(first, second, method="exact").pvalue)
    assert rank_difference_p([*first, 0.2], second) == pytest.approx(counted, rel=0.1)
    tied = np.round(first, 1), np.round(second, 1)
    many = [*tied[0], 0.2], tied[1]
    assert rank_difference_p(*many) == pytest.approx(mannwhitneyu(*many).pvalue)
    assert rank_difference_p([math.inf] * 3, [math.inf] * 3) == 1.0
    assert rank_difference_p([1.0] * 80, [1.0] * 80) == 1.0


def test_a_p_just_below_the_limit_is_not_rounded_to_it():
    finding = compare_groups(HIGH, LOW, True)
    for p, words in ((0.0496, "p = 0.0496:"), (0.0504, "p = 0.05:"), (0.031, "p = 0.031:")):
        assert words in finding_text(replace(finding, p=p), claim(), 6)


def test_groups_whose_seeds_mostly_have_no_value_are_not_judged():
    for num_known, outcome, left_out in (
        (6, "holds", 0),
        (4, "holds", 2),
        (2, "too few seeds to tell", 4),
        (0, "too few seeds to tell", 6),
    ):
        new = [*HIGH[:num_known], *[None] * (6 - num_known)]
        (case,) = judge_claim(claim(**OF_X), STUDY, {"careful": points(x=(LOW, new))}).cases
        assert (case.careful.outcome, case.careful.left_out) == (outcome, left_out)


def test_a_claim_without_any_seed_left_is_not_the_same_as_one_not_run():
    def point(model, fitted):
        metrics = {"train": np.array(fitted), "m": np.full(len(fitted), 5.0)}
        return GridPoint({"task": "x", "model": model}, [*range(len(fitted))], metrics, {})

    ours, theirs = point("new", [math.nan] * 5), point("old", [1.0] * 5)
    for of_protocol, than in (([ours, theirs], {"model": "old"}), ([ours], 1)):
        conditional = claim(given_metric="train", than=than, **OF_X)
        results = {"authors": of_protocol, "careful": of_protocol}
        (case,) = judge_claim(conditional, STUDY, results).cases
        assert case.careful is not None and case.careful.first is None
        assert case.verdict == "too few seeds to tell"
        assert "5 seeds left out" in finding_text(case.careful, conditional, 5)
    (case,) = judge_claim(claim(given_metric="train", **OF_X), STUDY, {"careful": [ours]}).cases
    assert case.careful is None


def test_given_metric_leaves_out_seeds_without_it_and_keeps_those_that_never_generalize():
    metrics = {
        "train": np.array([10, math.nan, 12]),
        "m": np.array([math.nan, math.nan, 600]),
    }
    results = {"authors": [GridPoint({"task": "x", "model": "new"}, [0, 1, 2], metrics, {})]}
    options = {"unit": "epochs", "than": 500, "share": 1.0, **OF_X}
    (case,) = judge_claim(claim(**options), STUDY, results).cases
    assert (case.authors.first.num_seeds, case.authors.outcome) == (3, "holds")
    (case,) = judge_claim(claim(given_metric="train", **options), STUDY, results).cases
    assert (case.authors.first.num_seeds, case.authors.first.num_missing) == (2, 1)


def test_superiority_agrees_with_mann_and_whitney():
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 6, 20), generator.integers(1, 7, 15)
    # The Mann-Whitney U of the first sample counts the pairs it wins, ties by a half.
    expected = mannwhitneyu(first, second).statistic / (20 * 15)
    one, two = first.astype(float).tolist(), second.astype(float).tolist()
    assert superiority(one, two, greater=True) == pytest.approx(expected)
    assert superiority(one, two, greater=False) == pytest.approx(1 - expected)


def test_superiority_takes_never_for_greater_than_any_number_and_equal_to_never():
    # Pairs: (1, 2) lost, (1, never) lost, (never, 2) won, (never, never) tied.
    assert superiority([1.0, None], [2.0, None], greater=True) == 1.5 / 4
    assert superiority([1.0, None], [2.0, None], greater=False) == 2.5 / 4


@pytest.mark.parametrize(
    ("values", "greater", "share", "outcome", "beyond"),
    [
        ([1.0] * 15 + [0.5] * 5, True, 0.75, "holds", 0.75),
        ([1.0] * 14 + [0.5] * 6, True, 0.75, "just missed", 0.7),
        ([1.0] * 12 + [0.5] * 8, True, 0.75, "just missed", 0.6),
        ([1.0] * 11 + [0.5] * 9, True, 0.75, "does not hold", 0.55),
        ([1.0] * 14 + [0.5] * 6, True, 0.7, "holds", 0.7),
        ([0.99] * 20, True, 0.1, "does not hold", 0.0),  # at the number is not beyond it
        ([0.5] * 19 + [None], True, 0.05, "holds", 0.05),  # never is beyond any number
        ([0.5] * 19 + [None], False, 0.95, "holds", 0.95),
        ([0.5] * 19 + [None], False, 0.96, "just missed", 0.95),
    ],
)
def test_against_a_number_enough_seeds_must_be_beyond_it(values, greater, share, outcome, beyond):
    finding = compare_number(values, 0.99, greater, share)
    assert finding.outcome == outcome
    assert finding.fraction == pytest.approx(beyond)


def test_both_protocols_are_put_together_case_by_case():
    authors = points(x=(LOW, HIGH), y=(LOW, HIGH), z=(HIGH, LOW))
    careful = points(x=(LOW, HIGH), y=(HIGH, LOW), z=(LOW, HIGH))
    judged = judge_claim(claim(), STUDY, {"authors": authors, "careful": careful})
    verdicts = {
        "x": "holds",
        "y": "depends on the protocol "
        "(holds under the authors', the reverse under the careful one)",
        "z": "holds under the careful protocol only, the reverse under the authors'",
    }
    assert {case.labels["task"]: case.verdict for case in judged.cases} == verdicts
    assert judged.count("authors") == (2, 3)
    assert judged.verdict == "; ".join(f"{verdict}: 1 of 3" for verdict in verdicts.values())
    counts = "; ".join(f"{verdict}: 1" for verdict in verdicts.values())
    assert claims_tally([judged]) == f"Claims: 1, in 3 cases; {counts}."


@pytest.mark.parametrize(
    ("authors", "careful", "verdict"),
    [
        ((LOW, HIGH), (LOW, HIGH), "holds"),
        ((LOW, HIGH), (LOW, MIDDLE), "depends on the protocol (holds under the authors' only)"),
        ((LOW, MIDDLE), (LOW, HIGH), "holds under the careful protocol only"),
        ((LOW, MIDDLE), (HIGH, LOW), "does not hold"),
        ((HIGH, LOW), (HIGH, LOW), "the reverse holds"),
        ((LOW[:2], HIGH[:2]), (LOW, HIGH), "holds (too few seeds under the authors' protocol)"),
    ],
)
def test_outcomes_of_both_protocols_give_one_verdict(authors, careful, verdict):
    results = {"authors": points(x=authors), "careful": points(x=careful)}
    assert judge_claim(claim(**OF_X), STUDY, results).verdict == verdict


def test_a_fraction_that_one_protocol_just_misses_does_not_depend_on_it():
    results = {
        "authors": points(x=(LOW, [0.9] * 20)),
        "careful": points(x=(LOW, [0.9] * 17 + [0.1] * 3)),
    }
    verdict = judge_claim(claim(than=0.5, share=0.9, **OF_X), STUDY, results).verdict
    assert verdict == "holds (just missed under the careful protocol)"


def test_points_that_were_not_run_are_not_judged():
    only_new = [point for point in points(x=(LOW, HIGH)) if point.labels["model"] == "new"]
    judged = judge_claim(claim(), STUDY, {"authors": only_new, "careful": []})
    assert judged.verdict == "–"
    judged = judge_claim(claim(), STUDY, {"authors": points(x=(LOW, HIGH), y=(LOW, HIGH))})
    assert judged.verdict == "holds (careful protocol not run): 2 of 3; not run: 1 of 3"
    assert judged.cases[2].authors is None


def test_where_restricts_cases_and_without_for_each_all_seeds_are_pooled():
    results = {"authors": points(x=(LOW, HIGH), y=(LOW, HIGH), z=(HIGH, LOW))}
    where = {"where": {"task": ["x", "z"]}}
    judged = judge_claim(claim(**where), STUDY, results)
    assert [case.labels["task"] for case in judged.cases] == ["x", "z"]
    (case,) = judge_claim(claim(for_each=None, **where), STUDY, results).cases
    assert case.labels == {}
    # Twelve seeds each: LOW and HIGH on either side, so that neither is greater.
    assert case.authors.first.num_seeds == case.authors.second.num_seeds == 12
    assert case.authors.outcome == "no difference seen"
    assert case.authors.fraction == 0.5


def test_findings_are_written_with_their_numbers():
    results = {"authors": points(EPOCH, x=([100, 2000, None], [1000, 1200, 1400]))}
    options = {"metric": EPOCH, "less": {"model": "new"}, "greater": None}
    (case, *_) = judge_claim(claim(**options), STUDY, results).cases
    # Of nine pairs new is earlier in six: all against 2,000 and never, none against 100.
    assert finding_text(case.authors, claim(**options), expected_seeds=3) == (
        "1,200 [1,100, 1,300] against 2,000 [1,050, never], 1 of 3 never, P = 0.67, p = 0.7: "
        "too few seeds to tell"
    )
    number = claim(than=1300, **options)
    (case, *_) = judge_claim(number, STUDY, results).cases
    assert finding_text(case.authors, number, 3) == "2 of 3 below 1,300: just missed"
    assert finding_text(None, number, 3) == "–"


def test_a_seed_without_a_value_is_not_beyond_a_number():
    values = [None] * 9 + [12.0]
    assert compare_number(values, 30.0, False, 0.9, never_counts=False).outcome == "does not hold"
    assert compare_number(values, 5.0, True, 0.9, never_counts=False).fraction == pytest.approx(0.1)
    assert compare_number([None] * 3, 5.0, True, 0.9, never_counts=False).fraction == 0
    assert compare_number(values, 30.0, True, 0.9).outcome == "holds"  # never is late
