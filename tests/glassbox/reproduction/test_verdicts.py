"""Verdicts follow from the numbers: hand-computed cases of every statistic and rule."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glassbox.reproduction.format import difference_text, number_text, statistic_text
from glassbox.reproduction.grid_point import GridPoint
from glassbox.reproduction.report_markdown import published_text, tally
from glassbox.reproduction.schema import Rule, Table
from glassbox.reproduction.seed_statistics import statistic_of
from glassbox.reproduction.study import Study
from glassbox.reproduction.verdicts import Published, table_rows

NEVER = math.nan
MEDIAN = Table("t", "m", Rule("absolute", 0.05, 0.2), None)
EPOCHS = Table("t", "generalization/test_epoch", Rule("ratio", 1.5, 3), None)
COUNT = Table("t", "m", Rule("absolute", 2, 5), None, "count_above", threshold=0.99)


def point(values, metric="m", **labels):
    return GridPoint(
        labels or {"model": "a"}, range(len(values)), {metric: np.array(values, float)}, {}
    )


def one_row(table, published, authors=None, careful=None):
    """The row of a study with one grid point."""
    study = Study(
        name="paper/one",
        title="One",
        source="here",
        config=Path("base.yaml"),
        seeds=[0],
        axes={"model": {"a": {}}},
        protocols={"authors": {}, "careful": {}},
    )
    results = {
        protocol: [] if values is None else [point(values, table.metric)]
        for protocol, values in (("authors", authors), ("careful", careful))
    }
    (row,) = table_rows(replace(table, published={"a": published}), study, results)
    return row


def test_median_and_quartiles_interpolate_between_seeds_as_numpy_does():
    values = [0.3, 0.1, 0.9, 0.4, 0.8, 0.2]
    statistic = statistic_of(MEDIAN, point(values))
    expected = np.quantile(values, [0.25, 0.5, 0.75])
    np.testing.assert_allclose([statistic.low, statistic.value, statistic.high], expected)
    assert (statistic.num_seeds, statistic.num_missing) == (6, 0)


def test_a_missing_epoch_is_later_than_all_others():
    statistic = statistic_of(EPOCHS, point([NEVER, 10, 30, 20, NEVER], EPOCHS.metric))
    assert (statistic.low, statistic.value, statistic.high) == (20, 30, math.inf)
    assert statistic.num_missing == 2


def test_counting_takes_seeds_at_the_threshold_and_leaves_out_those_without_a_value():
    at_threshold = float(np.float32(0.7))  # 0.699999988: a metric that was kept in float32
    statistic = statistic_of(replace(COUNT, threshold=0.7), point([at_threshold, 0.69, 0.8, NEVER]))
    assert (statistic.value, statistic.num_seeds, statistic.num_missing) == (2, 4, 1)
    reached = statistic_of(
        replace(COUNT, statistic="count_reached", threshold=None), point([0.1, NEVER, NEVER])
    )
    assert (reached.value, reached.num_seeds) == (1, 3)


def test_a_metric_of_names_raises():
    names = GridPoint({"model": "a"}, [0], {"m": np.array(["V4"])}, {})
    with pytest.raises(ValueError, match="metric m"):
        statistic_of(MEDIAN, names)


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        (0.90, "reproduced"),
        (0.85, "reproduced"),  # 0.05 away, although 0.9 - 0.85 > 0.05 in binary
        (0.84, "differs by −0.06"),
        (1.05, "differs by +0.15"),
        (0.69, "not reproduced"),
        (NEVER, "not reproduced"),
    ],
)
def test_absolute_rule_judges_the_median_by_its_distance(ours, verdict):
    assert one_row(MEDIAN, 0.9, authors=[ours]).verdict == verdict


@pytest.mark.parametrize(
    ("ours", "published", "verdict"),
    [
        (150, 100, "reproduced"),
        (67, 100, "reproduced"),
        (210, 100, "differs by a factor of 2.1"),
        (48, 100, "differs by a factor of 0.48"),
        (301, 100, "not reproduced"),
        (0, 100, "not reproduced"),
        (0, 0, "reproduced"),
        (NEVER, "never", "reproduced"),
        (500, "never", "not reproduced"),
        (NEVER, 500, "not reproduced"),
    ],
)
def test_ratio_rule_judges_by_the_factor_and_never_equals_never_alone(ours, published, verdict):
    assert one_row(EPOCHS, published, authors=[ours]).verdict == verdict


def test_a_published_number_between_our_quartiles_is_reproduced():
    # Median 0.75, quartiles 0.4 and 0.95; published 0.9 is 0.15 away.
    assert one_row(MEDIAN, 0.9, authors=[0.2, 0.4, 0.75, 0.95, 0.99]).verdict == (
        "reproduced (within quartiles)"
    )
    # One seed higher, and 0.9 is outside of them.
    assert one_row(MEDIAN, 0.9, authors=[0.2, 0.4, 0.75, 0.85, 0.99]).verdict == "differs by −0.15"
    # However wide the quartiles are, 0.4 is too far.
    assert one_row(MEDIAN, 0.4, authors=[0.2, 0.3, 0.75, 0.85, 0.99]).verdict == "not reproduced"


def test_quartiles_decide_nothing_where_the_median_or_the_published_value_is_never():
    # First quartile 20, third never: 400 lies between, but our median is never.
    assert one_row(EPOCHS, 400, authors=[10, 20, NEVER, NEVER, NEVER]).verdict == "not reproduced"
    # Median 30, third quartile never: "never" is no number between them.
    assert one_row(EPOCHS, "never", authors=[10, 20, 30, NEVER, NEVER]).verdict == "not reproduced"
    assert one_row(EPOCHS, 60, authors=[10, 20, 30, NEVER, NEVER]).verdict == (
        "reproduced (within quartiles)"
    )


@pytest.mark.parametrize(
    ("above", "seeds", "published_seeds", "verdict"),
    [
        (12, 20, 20, "reproduced"),
        (11, 20, 20, "differs by −3 of 20 seeds"),
        (19, 20, 20, "differs by +5 of 20 seeds"),
        (8, 20, 20, "not reproduced"),
        (6, 10, 20, "reproduced"),  # 12 of 20
        (5, 10, 20, "too few seeds to tell"),  # 5 of 10 and 14 of 20 are so apart by chance
        (1, 10, 20, "not reproduced"),
        (1, 3, 20, "too few seeds to tell"),
        (14, 20, 40, "not reproduced"),  # 28 of 40, published 14 of 40
        (7, 20, 40, "reproduced"),
    ],
)
def test_counts_are_compared_as_shares_in_seeds_of_the_paper(
    above, seeds, published_seeds, verdict
):
    values = [1.0] * above + [0.5] * (seeds - above)
    table = replace(COUNT, published_seeds=published_seeds)
    assert one_row(table, 14, authors=values).verdict == verdict


def test_the_careful_protocol_is_compared_with_the_authors_by_rule_or_chance():
    # Medians 0.5 and 0.54: within 0.05.
    assert one_row(MEDIAN, None, [0.5], [0.54]).protocols == "agrees"
    # Medians 0.5 and 0.8: three seeds a side are never clear, eight are.
    three = one_row(MEDIAN, None, [0.4, 0.5, 0.6], [0.7, 0.8, 0.9])
    assert three.protocols == "too few seeds to tell"
    few, many = [0.4, 0.5, 0.6, 0.5] * 2, [0.7, 0.8, 0.9, 0.8] * 2
    assert one_row(MEDIAN, None, few, many).protocols == "depends on the protocol"
    assert one_row(EPOCHS, None, [NEVER], [NEVER]).protocols == "agrees"
    assert one_row(EPOCHS, None, [100] * 5, [NEVER] * 5).protocols == "depends on the protocol"
    # Of 20 seeds 10 and 14 are more than 3 apart, which chance may do; 10 and 19 hardly.
    assert one_row(COUNT, None, [1, 0] * 10, [1] * 14 + [0] * 6).protocols == "not clearly apart"
    assert one_row(COUNT, None, [1, 0] * 10, [1] * 19 + [0]).protocols == "depends on the protocol"


def test_median_reached_leaves_out_missing_values_and_counts_them():
    table = replace(EPOCHS, statistic="median_reached")
    statistic = statistic_of(table, point([10, 30, NEVER, NEVER, 20], EPOCHS.metric))
    assert (statistic.value, statistic.num_seeds, statistic.num_missing) == (20, 5, 2)
    assert one_row(table, 20, authors=[10, 30, NEVER, NEVER, 20]).verdict == "reproduced"
    assert one_row(table, 20, authors=[NEVER] * 3).verdict == "not reproduced"
    assert one_row(table, None, [20] * 5, [NEVER] * 5).protocols == "depends on the protocol"


def test_there_is_no_verdict_without_published_number_or_run():
    assert one_row(MEDIAN, None, authors=[0.5]).verdict == "–"
    assert one_row(MEDIAN, 0.5).verdict == "–"
    assert one_row(MEDIAN, 0.5, careful=[0.5]).verdict == "–"  # that is not the authors' protocol
    assert one_row(MEDIAN, 0.5, careful=[0.5]).protocols == "–"
    without_metric = replace(MEDIAN, metric="other")
    assert statistic_of(without_metric, point([0.5])) is None


def test_rows_follow_the_grid_and_where_and_published_is_found_by_the_order_of_axes():
    study = Study(
        name="paper/two",
        title="Two",
        source="here",
        config=Path("base.yaml"),
        seeds=[0, 1],
        axes={"task": {"x": {}, "y": {}}, "model": {"a": {}, "b": {}, "c": {}}},
        protocols={"authors": {}, "careful": {}},
    )
    table = replace(
        MEDIAN,
        where={"model": ["a", "b"]},
        published={"x": {"a": 0.1, "b": [0.2, 0.1, 0.3]}, "y": {"a": None, "b": "never"}},
    )
    # Handed over in another order, and the labels too.
    points = [
        GridPoint({"model": "b", "task": "x"}, [0], {"m": np.array([0.2])}, {}),
        GridPoint({"model": "a", "task": "x"}, [0], {"m": np.array([0.9])}, {}),
        GridPoint({"model": "c", "task": "x"}, [0], {"m": np.array([0.5])}, {}),
    ]
    rows = table_rows(table, study, {"authors": points, "careful": []})
    assert [tuple(row.labels.values()) for row in rows] == [
        ("x", "a"),
        ("x", "b"),
        ("y", "a"),
        ("y", "b"),
    ]
    assert [row.verdict for row in rows] == ["not reproduced", "reproduced", "–", "–"]
    assert [row.published for row in rows] == [
        Published(0.1),
        Published(0.2, 0.1, 0.3),
        None,
        Published(math.inf),
    ]
    assert tally(rows) == (
        "Published numbers compared: 2; reproduced: 1; differing: 0; not reproduced: 1. "
        "Published but not run under the protocol that is judged: 1."
    )


def test_numbers_are_written_for_readers():
    assert [number_text(v) for v in (0.9, 0.455, 0.9996, 0, -0.0004, -0.25, 15.57)] == [
        "0.90",
        "0.455",
        "1.00",
        "0.00",
        "−0.0004",
        "−0.25",
        "15.6",
    ]
    assert number_text(1032.4, epochs=True) == "1,032"
    assert number_text(math.inf, epochs=True) == "never"
    assert number_text(math.inf) == "none"
    assert difference_text(0.1) == "+0.10"
    assert difference_text(-1200, epochs=True) == "−1,200"


def test_cells_tell_quartiles_missing_values_and_seeds_that_are_too_few():
    epochs = [1000.0, 2000.0, 3000.0, NEVER, NEVER]
    statistic = statistic_of(EPOCHS, point(epochs, EPOCHS.metric))
    assert statistic_text(statistic, True, 5) == "3,000 [2,000, never], 2 of 5 never"
    few = statistic_of(MEDIAN, point([0.5, 0.5]))
    assert statistic_text(few, False, 20) == "0.50 [0.50, 0.50] (2 seeds)"
    assert statistic_text(statistic_of(MEDIAN, point([0.5])), False, 1) == "0.50"
    assert statistic_text(statistic_of(COUNT, point([1, 0.5])), False, 20) == "1 of 2"
    assert statistic_text(None, False, 20) == "–"
    assert published_text(MEDIAN, Published(0.455, 0.35, 0.63)) == "0.455 (0.35–0.63)"
    assert published_text(EPOCHS, Published(math.inf)) == "never"
    assert published_text(COUNT, Published(14)) == "14 of 20"


def test_seeds_are_counted_by_the_names_that_their_metric_holds():
    names = np.array(
        ["V4 normal, left = right", "S3 (fixes 2), left", "none", "S3 (fixes 0), left"]
    )
    of = GridPoint({"task": "permutation"}, [0, 1, 2, 3], {"coset": names}, {})
    table = replace(MEDIAN, metric="coset", statistic="count_named", starts_with="S3")
    statistic = statistic_of(table, of)
    assert (statistic.value, statistic.num_seeds, statistic.num_missing) == (2, 4, 1)
    assert statistic_of(replace(table, starts_with="V4"), of).value == 1
