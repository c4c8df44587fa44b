"""The closing table: medians and quartiles over seeds, and a column for every value of a sweep."""

from __future__ import annotations

import re

import numpy as np

from callbacks.run.summary_table import summary_table


def rows_of(text: str) -> dict[str, str]:
    return {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines() if line}


def test_table_shows_median_quartiles_never_or_none_and_how_many_seeds_have_no_value():
    metrics = {
        "test/accuracy": [0.5, 1.0, 0.75, 0.25, 0.0],
        "test_epoch": [1000.0, None, 2000.0, 3000.0, None],
        "train_epoch": [None] * 5,
        "score": [0.5, None, None, 0.25, 0.125],
        "unused": [1.0] * 5,
        "best": ["D4", "A4", "V4", "A4", "S3"],
    }
    text = summary_table(
        metrics, ["test/accuracy", "test_epoch", "train_epoch", "score", "best"], 5
    )
    rows = rows_of(text)
    assert rows["5"] == "seeds median 25 % 75 % without"
    assert rows["test/accuracy"] == "0.5 0.25 0.75"
    assert rows["test_epoch"] == "3,000 2,000 never 2"
    assert rows["train_epoch"] == "never never never 5"
    assert rows["score"] == "0.5 0.25 none 2"  # only an epoch can be never
    assert rows["best"] == "A4 (2), D4 (1), S3 (1)"  # the three most common
    assert "unused" not in text


def test_table_columns_stand_below_their_headings():
    metrics = {"a": [0.123456, 0.2], "a/much/longer/name": [123456.0, None]}
    lines = summary_table(metrics, list(metrics), 2).splitlines()[1:]
    ends = [[m.end() for m in re.finditer(r"median|25 %|75 %", lines[0])]]
    for line in lines[2:]:
        ends.append([m.end() for m in re.finditer(r"\S+", line)][1:4])
    assert ends[0] == ends[1] == ends[2]
    assert len(lines[1]) >= max(map(len, lines))


def test_table_of_one_seed_says_seed():
    assert summary_table({"a": [1.0]}, ["a"], 1).splitlines()[1].startswith("1 seed ")


def columns_of(line: str) -> list[str]:
    return re.split(r" {2,}", line.strip())


def test_a_sweep_has_a_column_of_medians_for_every_value():
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 9, (3, 5))  # three values of five seeds, one value after another
    metrics = {
        "val/represented": values.flatten().tolist(),
        "test_epoch": [10.0, 20.0, None, 30.0, 40.0, *[None] * 5, *[7.0] * 5],
    }
    differing = {"sparsity": [0.0] * 5 + [0.9] * 5 + [0.99] * 5}
    _, heading, _, first, second = summary_table(metrics, list(metrics), 15, differing).splitlines()
    assert columns_of(heading) == ["by sparsity, medians of 5 seeds", "0", "0.9", "0.99"]
    assert columns_of(first) == [
        "val/represented",
        *(f"{median:.3g}" for median in np.median(values, axis=1)),
    ]
    assert columns_of(second) == ["test_epoch", "30", "never", "7"]


def test_members_of_a_value_need_not_stand_together():
    metrics = {"a": [1.0, 10.0, 3.0, 30.0]}
    lines = summary_table(metrics, ["a"], 4, {"scale": [1.0, 0.1, 1.0, 0.1]}).splitlines()
    assert columns_of(lines[1])[1:] == ["1", "0.1"]
    assert columns_of(lines[3])[1:] == ["2", "20"]


def test_of_a_sweep_words_and_single_numbers_stand_below_for_all_members():
    metrics = {"a": [1.0, 2.0], "best": ["A4", "V4"], "agreement": [0.5]}
    text = summary_table(metrics, list(metrics), 2, {"exponent": [1, 2]})
    rows = rows_of(text)
    assert "by exponent, 1 seed" in text and rows["a"] == "1 2"
    assert rows["2"].startswith("members median")
    assert rows["best"] == "A4 (1), V4 (1)" and rows["agreement"].startswith("0.5 ")


def test_two_settings_or_many_values_are_put_together():
    metrics = {"a": [float(i) for i in range(20)]}
    many = summary_table(metrics, ["a"], 20, {"sparsity": [i / 20 for i in range(20)]})
    two = summary_table(metrics, ["a"], 20, {"x": [0, 1] * 10, "y": [0] * 10 + [1] * 10})
    for text in (many, two):
        assert rows_of(text)["20"].startswith("members median")
        assert rows_of(text)["a"] == "9.5 4.75 14.25"


def test_settings_that_are_no_numbers_have_columns_too():
    metrics = {"a": [1.0, 2.0, 3.0]}
    settings = {"sampling": ["distinct", "with_replacement", None]}
    lines = summary_table(metrics, ["a"], 3, settings).splitlines()
    assert columns_of(lines[1])[1:] == ["distinct", "with_replacement", "None"]
    ends = [[m.end() for m in re.finditer(r"\S+", line)] for line in (lines[1], lines[3])]
    assert ends[0][-3:] == ends[1][-3:]
