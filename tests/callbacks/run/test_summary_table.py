"""The summary table: quantiles over seeds, or a column for every value of a sweep."""

from __future__ import annotations

import re

import numpy as np
import pytest

from callbacks.run.summary_table import summary_table


def rows_of(text: str) -> dict[str, str]:
    return {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines() if line}


def columns_of(line: str) -> list[str]:
    return re.split(r" {2,}", line.strip())


def test_table_shows_quantiles_and_the_number_of_missing_values():
    metrics = {
        "test/accuracy": [0.5, 1.0, 0.75, 0.25, 0.0],
        "test_epoch": [1000.0, None, 2000.0, 3000.0, None],
        "train_epoch": [None] * 5,
        "score": [0.5, None, None, 0.25, 0.125],
        "unused": [1.0] * 5,
        "best": ["D4", "A4", "V4", "A4", "S3"],
    }
    names = [name for name in metrics if name != "unused"]
    rows = rows_of(summary_table(metrics, names, 5))
    assert rows["5"].startswith("seeds median 25 % 75 %")
    assert rows["test/accuracy"] == "0.5 0.25 0.75"
    assert rows["test_epoch"] == "3,000 2,000 never 2"
    assert rows["train_epoch"] == "never never never 5"
    assert rows["score"] == "0.5 0.25 none 2"  # only epochs are "never"
    assert rows["best"] == "A4 (2), D4 (1), S3 (1)"  # the three most common
    assert "unused" not in rows
    assert summary_table({"a": [1.0]}, ["a"], 1).splitlines()[1].startswith("1 seed ")


def test_a_sweep_has_a_column_of_medians_for_every_value():
    values = np.random.default_rng(0).uniform(1, 9, (3, 5))  # five seeds of each of three values
    metrics = {
        "val/represented": values.flatten().tolist(),
        "test_epoch": [10.0, 20.0, None, 30.0, 40.0, *[None] * 5, *[7.0] * 5],
    }
    differing = {"sparsity": [0.0] * 5 + [0.9] * 5 + [0.99] * 5}
    _, heading, _, first, second = summary_table(metrics, list(metrics), 15, differing).splitlines()
    assert columns_of(heading) == ["by sparsity, medians of 5 seeds", "0", "0.9", "0.99"]
    medians = [f"{median:.3g}" for median in np.median(values, axis=1)]
    assert columns_of(first) == ["val/represented", *medians]
    assert columns_of(second) == ["test_epoch", "30", "never", "7"]


@pytest.mark.parametrize(
    ("settings", "columns", "medians"),
    [
        ({"scale": [1.0, 0.1, 1.0, 0.1]}, ["1", "0.1"], ["2", "20"]),  # not in order
        (
            {"sampling": ["distinct", "with_replacement", None, "distinct"]},
            ["distinct", "with_replacement", "None"],
            ["15.5", "10", "3"],
        ),
    ],
)
def test_values_may_be_in_any_order_and_of_any_kind(settings, columns, medians):
    lines = summary_table({"a": [1.0, 10.0, 3.0, 30.0]}, ["a"], 4, settings).splitlines()
    assert columns_of(lines[1])[1:] == columns and columns_of(lines[3])[1:] == medians


def test_words_and_single_numbers_of_a_sweep_are_shown_for_all_members():
    metrics = {"a": [1.0, 2.0], "best": ["A4", "V4"], "agreement": [0.5]}
    text = summary_table(metrics, list(metrics), 2, {"exponent": [1, 2]})
    rows = rows_of(text)
    assert "by exponent, 1 seed" in text and rows["a"] == "1 2"
    assert rows["2"].startswith("members median")
    assert rows["best"] == "A4 (1), V4 (1)" and rows["agreement"].startswith("0.5 ")


@pytest.mark.parametrize(
    "settings",
    [{"sparsity": [i / 20 for i in range(20)]}, {"x": [0, 1] * 10, "y": [0] * 10 + [1] * 10}],
)
def test_many_values_or_two_settings_are_not_split(settings):
    rows = rows_of(summary_table({"a": [float(i) for i in range(20)]}, ["a"], 20, settings))
    assert rows["20"].startswith("members median") and rows["a"] == "9.5 4.75 14.25"
