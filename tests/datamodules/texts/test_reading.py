"""Texts and classes from files, against csv, json and hand-written trees."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from datamodules.texts.reading import find_file, read_labeled_texts, read_trees

ROWS = [('"Quoted" and it \'s good', 1), ("é \x85 odd … \u2028 ends", 0), ('one " mark', 1)]


def written(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def message(path: Path, read=read_labeled_texts) -> str:
    with pytest.raises(ValueError) as error:
        read(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("suffix", [".tsv", ".tsv.gz"])
@pytest.mark.parametrize("columns", ["label sentence", "sentence label", "id text label"])
def test_tables_are_read_like_the_csv_module_does_without_quotes(tmp_path, suffix, columns, ending):
    names = columns.split()
    cells = [{"id": "7", "text": t, "sentence": t, "label": str(label)} for t, label in ROWS]
    lines = ["\t".join(names), *("\t".join(row[name] for name in names) for row in cells)]
    content = ending.join(lines) + ending
    part = read_labeled_texts(written(tmp_path / f"a{suffix}", content))
    bare = [line.removesuffix("\r") for line in content.split("\n")[:-1]]
    rows = list(csv.DictReader(bare, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert part.texts == [row.get("text", row.get("sentence")) for row in rows]
    assert list(zip(part.texts, part.labels, strict=True)) == ROWS


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_lines_of_json_are_read_with_blank_lines_skipped(tmp_path, suffix):
    content = "\n\n".join(json.dumps({"id": 1, "text": t, "label": y}) for t, y in ROWS)
    part = read_labeled_texts(written(tmp_path / f"a{suffix}", content))
    assert list(zip(part.texts, part.labels, strict=True)) == ROWS


def test_a_byte_order_mark_is_not_part_of_the_header(tmp_path):
    path = written(tmp_path / "a.tsv", b"\xef\xbb\xbflabel\ttext\n1\tx \n")
    assert read_labeled_texts(path).texts == ["x"]


def test_trees_give_their_leaves_and_the_class_of_the_root(tmp_path):
    trees = [
        "(3 (2 A) (4 (4 fine) (2 film\\/play)))",
        "(2 (2 So) (2 what))",
        "(0 (1 -LRB-) (0 (0 bad) (2 20\u00a0times)))",
        "(4 Great)",
        "(1 (2 a\\*))",
    ]
    part = read_trees(written(tmp_path / "a.txt", "\n".join(trees) + "\n"))
    assert part.texts == ["A fine film\\/play", "-LRB- bad 20\u00a0times", "Great", "a\\*"]
    assert part.labels == [1, 0, 1, 0]


@pytest.mark.parametrize("line", ["no tree", "(5 (2 a) (2 b))", "(3 (2 a) (2 b)", "(3 )", "()"])
def test_lines_that_are_not_trees_are_errors(tmp_path, line):
    path = written(tmp_path / "a.txt", f"(4 Great)\n{line}\n")
    assert "line 2" in message(path, read_trees)


@pytest.mark.parametrize("label", ["2", "-1", "", "positive", "0.5", "1.0"])
def test_labels_of_a_table_other_than_0_and_1_are_errors(tmp_path, label):
    path = written(tmp_path / "a.tsv", f"label\ttext\n1\tgood\n{label}\tbad\n")
    assert f"label in line 3 of {path} is {label!r}" in message(path)


@pytest.mark.parametrize("label", [2, -1, None, True, 1.0, [1]])
def test_labels_of_json_other_than_0_and_1_are_errors(tmp_path, label):
    path = written(tmp_path / "a.jsonl", json.dumps({"text": "x", "label": label}))
    assert f"label in line 1 of {path} is {label!r}" in message(path)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.tsv", "label\ttext\n1\tgood\n0\t\u00a0\n", "line 3"),  # an empty text
        ("a.jsonl", '{"text": " ", "label": 0}', "line 1"),
        ("a.tsv", "label\ttitle\n1\tgood\n", "no field 'sentence' or 'text'"),
        ("a.tsv", "text\tclass\n1\tgood\n", "no field 'label'"),
        ("a.jsonl", '{"title": "x", "label": 1}', "no field 'sentence' or 'text'"),
        ("a.jsonl", '{"text": "x", "class": 1}', "no field 'label'"),
        ("a.tsv", "label\ttext\n1\ta\tb\n", "line 2"),
        ("a.tsv", "label\ttext\n1 a\n", "line 2"),
        ("a.tsv", b"label\ttext\n1\t\xe9t\xe9\n", "line 2"),
        ("a.tsv", "label\ttext\n", "no texts"),
        ("a.tsv", "", "no texts"),
        ("a.jsonl", '{"text": "x", "label": 1}\n{"text": "y"', "line 2"),
        ("a.jsonl", "[1]", "line 1"),
        ("a.jsonl", '{"text": 5, "label": 1}', "'text' in line 1"),
    ],
)
def test_broken_lines_are_errors_with_their_number(tmp_path, name, content, part):
    assert part in message(written(tmp_path / name, content))


def test_a_truncated_file_is_an_error(tmp_path):
    lines = "\n".join(json.dumps({"text": f"text {i * i}", "label": i % 2}) for i in range(500))
    path = tmp_path / "a.jsonl.gz"
    for data in (gzip.compress(lines.encode())[:900], b"no gzip at all"):
        path.write_bytes(data)
        assert "line" in message(path)


def test_the_one_file_of_a_split_is_found_by_any_of_its_names(tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ValueError, match=r"data\.data_dir"):
            find_file(folder, ("dev", "validation"))
    path = written(tmp_path / "validation.jsonl.gz", "x")
    assert find_file(tmp_path, ("dev", "validation")) == path
    (tmp_path / "dev.tsv").touch()
    with pytest.raises(ValueError, match=r"dev\.tsv and validation\.jsonl\.gz"):
        find_file(tmp_path, ("dev", "validation"))
