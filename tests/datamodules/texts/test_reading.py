"""Reading texts and classes, against csv, json and trees built by hand; and what is refused."""

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


def refusal(path: Path, read=read_labeled_texts) -> str:
    with pytest.raises(ValueError) as error:
        read(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("suffix", [".tsv", ".tsv.gz"])
@pytest.mark.parametrize("columns", ["label sentence", "sentence label", "id text label"])
def test_tables_are_read_as_the_csv_module_does_without_quotes(tmp_path, suffix, columns, ending):
    names = columns.split()
    cells = [{"id": "7", "text": t, "sentence": t, "label": str(label)} for t, label in ROWS]
    lines = ["\t".join(names), *("\t".join(row[name] for name in names) for row in cells)]
    content = ending.join(lines) + ending
    found = read_labeled_texts(written(tmp_path / f"a{suffix}", content))
    bare = [line.removesuffix("\r") for line in content.split("\n")[:-1]]
    rows = list(csv.DictReader(bare, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert found.texts == [row.get("text", row.get("sentence")) for row in rows]
    assert found.labels == [int(row["label"]) for row in rows]
    assert list(zip(found.texts, found.labels, strict=True)) == ROWS


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_lines_of_json_are_read_as_json_does(tmp_path, suffix):
    content = "\n\n".join(json.dumps({"id": 1, "text": t, "label": y}) for t, y in ROWS)
    found = read_labeled_texts(written(tmp_path / f"a{suffix}", content))
    assert list(zip(found.texts, found.labels, strict=True)) == ROWS


def test_a_byte_order_mark_is_no_part_of_a_column_s_name(tmp_path):
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
    found = read_trees(written(tmp_path / "a.txt", "\n".join(trees) + "\n"))
    assert found.texts == ["A fine film\\/play", "-LRB- bad 20\u00a0times", "Great", "a\\*"]
    assert found.labels == [1, 0, 1, 0]


@pytest.mark.parametrize("line", ["no tree", "(5 (2 a) (2 b))", "(3 (2 a) (2 b)", "(3 )", "()"])
def test_a_line_that_is_no_tree_is_refused(tmp_path, line):
    path = written(tmp_path / "a.txt", f"(4 Great)\n{line}\n")
    assert f"line 2 of {path} is no sentiment tree" in refusal(path, read_trees)


@pytest.mark.parametrize("label", ["2", "-1", "", "positive", "0.5", "1.0"])
def test_a_label_of_a_table_must_be_0_or_1(tmp_path, label):
    path = written(tmp_path / "a.tsv", f"label\ttext\n1\tgood\n{label}\tbad\n")
    said = refusal(path)
    assert f"the label in line 3 of {path} is {label!r}" in said
    assert "must be 0 (negative) or 1 (positive)" in said


@pytest.mark.parametrize("label", [2, -1, None, True, 1.0, [1]])
def test_a_label_of_json_must_be_0_or_1(tmp_path, label):
    path = written(tmp_path / "a.jsonl", json.dumps({"text": "x", "label": label}))
    assert f"the label in line 1 of {path} is {label!r}" in refusal(path)


def test_minus_one_is_explained(tmp_path):
    path = written(tmp_path / "a.jsonl", json.dumps({"text": "x", "label": -1}))
    assert "is -1, which stands for no label; it must be" in refusal(path)


@pytest.mark.parametrize("text", ["", "  ", "\u00a0"])
def test_an_empty_text_is_refused(tmp_path, text):
    path = written(tmp_path / "a.tsv", f"label\ttext\n1\tgood\n0\t{text}\n")
    assert f"the text in line 3 of {path} is empty" in refusal(path)
    path = written(tmp_path / "a.jsonl", json.dumps({"text": text, "label": 0}))
    assert f"the text in line 1 of {path} is empty" in refusal(path)


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("label\ttitle", "no field 'sentence' or 'text', only 'label', 'title'"),
        ("text\tclass", "no field 'label', only 'text', 'class'"),
    ],
)
def test_a_column_that_is_missing_is_named_beside_those_there_are(tmp_path, header, part):
    path = written(tmp_path / "a.tsv", f"{header}\n1\tgood\n")
    assert f"line 1 of {path} has {part}" in refusal(path)
    row = dict.fromkeys(header.split("\t"), "1")
    assert part in refusal(written(tmp_path / "a.jsonl", json.dumps(row)))


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.tsv", "label\ttext\n1\ta\tb\n", "has 3 columns, and the first line names 2"),
        ("a.tsv", "label\ttext\n1 a\n", "has 1 columns, and the first line names 2"),
        ("a.tsv", b"label\ttext\n1\t\xe9t\xe9\n", "line 2 of {path} is not UTF-8"),
        ("a.tsv", "label\ttext\n", "holds no texts"),
        ("a.tsv", "", "holds no texts"),
        ("a.jsonl", "", "holds no texts"),
        ("a.jsonl", '{"text": "x", "label": 1}\n{"text": "y"', "line 2 of {path} is no valid JSON"),
        ("a.jsonl", "[1]", "is no JSON object but list"),
        ("a.jsonl", '{"text": 5, "label": 1}', "'text' in line 1 of {path} is int and no text"),
    ],
)
def test_a_broken_file_is_refused_in_one_sentence(tmp_path, name, content, part):
    path = written(tmp_path / name, content)
    assert part.format(path=path) in refusal(path)


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    lines = "\n".join(json.dumps({"text": f"text {i * i}", "label": i % 2}) for i in range(500))
    whole = gzip.compress(lines.encode())
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    assert f"{path} is cut off or damaged at line" in refusal(path)
    path.write_bytes(b"no gzip at all")
    assert f"{path} is cut off or damaged at line 1" in refusal(path)


def test_the_file_of_a_split_is_found_under_any_of_its_names(tmp_path):
    path = written(tmp_path / "validation.jsonl.gz", "x")
    assert find_file(tmp_path, ("dev", "validation")) == path


def test_a_missing_or_doubled_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no folder .*nowhere; name .*--data.data_dir"):
        find_file(tmp_path / "nowhere", ("train",))
    with pytest.raises(ValueError, match=r"holds no file dev or validation that ends with .tsv"):
        find_file(tmp_path, ("dev", "validation"))
    for name in ("train.tsv", "train.jsonl"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"holds train.tsv and train.jsonl, .* leave one"):
        find_file(tmp_path, ("train",))
