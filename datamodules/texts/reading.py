"""Reads texts and their classes: tables, lines of JSON, treebanks, Hugging Face data sets."""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.common.options import one_line

SUFFIXES = (".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz")
TEXT_FIELDS = ("sentence", "text")  # in order of preference
LABEL_FIELD = "label"
_LEAF = re.compile(r"\([0-4] ([^()]+)\)")

# A value of the label column, and a description of its place -> the class; None skips the text.
LabelParser = Callable[[Any, str], int | None]
# A description of its place, and the row by column name.
Row = tuple[str, dict[str, Any]]


class LabeledTexts(NamedTuple):
    """Texts and the class of each: 0 is negative, 1 positive."""

    texts: list[str]
    labels: list[int]
    source: str  # the file or data set, for messages


def find_file(folder: Path, names: Sequence[str], suffixes: Sequence[str] = SUFFIXES) -> Path:
    """The file of a split in a folder."""
    if not folder.is_dir():
        raise ValueError(
            f"folder {folder} does not exist; set --data.data_dir to the folder with the texts, or "
            f"leave it at null to load them from the Hugging Face hub"
        )
    paths = [folder / f"{name}{suffix}" for name in names for suffix in suffixes]
    paths = [path for path in paths if path.is_file()]
    if not paths:
        raise ValueError(
            f"{folder} has no file {' or '.join(names)} with suffix {', '.join(suffixes)}; add it, "
            f"or set --data.data_dir to another folder"
        )
    if len(paths) > 1:
        raise ValueError(
            f"{folder} has {' and '.join(path.name for path in paths)} for the same split; remove "
            f"all but one"
        )
    return paths[0]


def class_label(value: Any, where: str) -> int:
    """The class of a label: 0 or 1, as a number or as text."""
    if isinstance(value, str):
        value = {"0": 0, "1": 1}.get(value.strip(), value)
    if type(value) is not int or value not in (0, 1):
        hint = " (the mark of unlabeled data)" if value in (-1, "-1") else ""
        raise ValueError(
            f"the label in {where} is {value!r}{hint}; it must be 0 (negative) or 1 (positive). "
            f"Fix or remove the line"
        )
    return value


def read_labeled_texts(path: Path) -> LabeledTexts:
    """The texts and classes of a file, one per line; blank lines are skipped.

    The first line of a ``.tsv`` file has the names of its columns. Fields are not quoted: quotation
    marks belong to the text. ``.jsonl`` has one object per line. The text is in the field
    'sentence' or 'text', the class in 'label'. Either may be compressed (``.gz``).
    """
    rows = _json_rows(path) if ".jsonl" in path.suffixes else _table_rows(path)
    return _collect(rows, str(path), class_label)


def read_trees(path: Path) -> LabeledTexts:
    """The sentences of a file of sentiment trees, one per line, without neutral ones.

    The class of a tree's root is 0 or 1 for negative, 3 or 4 for positive sentences (Socher et al.
    2013); 2 is neutral. A sentence is its leaves joined by spaces, as the release writes them:
    brackets as -LRB- and -RRB-, slashes and asterisks after a backslash.
    """
    texts: list[str] = []
    labels: list[int] = []
    for where, line in _lines(path):
        tree = line.strip()
        leaves = _LEAF.findall(tree)
        balanced = tree.count("(") == tree.count(")") and tree.endswith(")")
        if not (re.match(r"\([0-4] ", tree) and balanced and leaves):
            raise ValueError(
                f"{where} is not a sentiment tree such as '(3 (2 A) (4 (4 fine) (2 film)))'; fix "
                f"or remove the line"
            )
        if tree[1] != "2":
            texts.append(" ".join(leaves))
            labels.append(int(tree[1] in "34"))
    return LabeledTexts(texts, labels, str(path))


def load_labeled_texts(
    name: str,
    split: str,
    revision: str | None = None,
    parse_label: LabelParser = class_label,
    folder: str | None = None,
) -> LabeledTexts:
    """The texts and classes of a split of a data set of Hugging Face's ``datasets`` library."""
    source = f"split {split!r} of the data set {name}"
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            f"the data set {name} requires the package datasets: run pip install datasets, or set "
            f"--data.data_dir to a folder of files"
        ) from error
    try:
        table = datasets.load_dataset(name, data_dir=folder, split=split, revision=revision)
        names = list(table.column_names)
        fields = [field for field in names if field in (*TEXT_FIELDS, LABEL_FIELD)]
        columns = [list(table[field]) for field in fields]
    except Exception as error:  # the library and the network raise many types
        raise ValueError(
            f"{source} could not be loaded ({type(error).__name__}: {one_line(error)}); check its "
            f"name and the network, or set --data.data_dir to a folder of files"
        ) from error
    _text_field(names, source)
    rows = (
        (f"row {number} of {source}", dict(zip(fields, values, strict=True)))
        for number, values in enumerate(zip(*columns, strict=True), 1)
    )
    return _collect(rows, source, parse_label)


def _collect(rows: Iterator[Row], source: str, parse_label: LabelParser) -> LabeledTexts:
    """Check rows and separate texts from classes."""
    texts: list[str] = []
    labels: list[int] = []
    for where, row in rows:
        field = _text_field(list(row), where)
        text = row[field]
        if not isinstance(text, str):
            raise ValueError(
                f"field {field!r} in {where} is {type(text).__name__}, expected a string; fix or "
                f"remove the line"
            )
        if not text.strip():
            raise ValueError(f"the text in {where} is empty; fill it in or remove the line")
        label = parse_label(row[LABEL_FIELD], where)
        if label is not None:
            texts.append(text.strip(" \t\r\n"))
            labels.append(label)
    if not texts:
        raise ValueError(f"{source} has no texts; use another file or data set")
    return LabeledTexts(texts, labels, source)


def _text_field(names: Sequence[str], where: str) -> str:
    """Name of the field with the text."""
    text_field = next((field for field in TEXT_FIELDS if field in names), None)
    if text_field is None or LABEL_FIELD not in names:
        missing = repr(LABEL_FIELD) if text_field else " or ".join(map(repr, TEXT_FIELDS))
        fields = ", ".join(map(repr, names)) or "none"
        raise ValueError(f"{where} has no field {missing}; its fields are {fields}: rename them")
    return text_field


def _table_rows(path: Path) -> Iterator[Row]:
    names: list[str] = []
    for where, line in _lines(path):
        cells = line.split("\t")
        if not names:
            names = [cell.strip() for cell in cells]
            _text_field(names, where)
            continue
        if len(cells) != len(names):
            raise ValueError(
                f"{where} has {len(cells)} columns but the first line names {len(names)}; separate "
                f"columns by one tab and use none within a text"
            )
        yield where, dict(zip(names, cells, strict=True))


def _json_rows(path: Path) -> Iterator[Row]:
    for where, line in _lines(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{where} is not valid JSON ({one_line(error)}); fix or remove the line"
            ) from error
        if not isinstance(row, dict):
            raise ValueError(
                f"{where} is a JSON {type(row).__name__}, expected an object with fields 'text' "
                f"and 'label'"
            )
        yield where, row


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Lines that are not blank, each with a description of its place.

    Splits bytes at line feeds, because Python's text mode and ``str.splitlines`` also split at
    control characters within old texts.
    """
    number = 0
    with io.BufferedReader(gzip.open(path)) if path.suffix == ".gz" else path.open("rb") as file:
        while True:
            number += 1
            where = f"line {number} of {path}"
            try:
                line = file.readline()
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{where} is not UTF-8; convert the file to UTF-8") from error
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise ValueError(
                    f"{path} is truncated or damaged at line {number} ({one_line(error)}); "
                    f"download or create the file again"
                ) from error
            if not line:
                return
            if not text.isspace():
                yield where, text.rstrip("\r\n")
