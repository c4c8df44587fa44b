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

from datamodules.documents.files import one_line

SUFFIXES = (".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz")
TEXT_FIELDS = ("sentence", "text")  # looked for in this order
LABEL_FIELD = "label"
_LEAF = re.compile(r"\([0-4] ([^()]+)\)")


class LabeledTexts(NamedTuple):
    """Texts and the class of each: 0 is negative, 1 positive."""

    texts: list[str]
    labels: list[int]
    source: str  # the file or data set, for messages


# A value of the label column and where it stands -> the class; None leaves the text out.
Labelling = Callable[[Any, str], int | None]


def find_file(folder: Path, names: Sequence[str], suffixes: Sequence[str] = SUFFIXES) -> Path:
    """The one file of a split in a folder.

    Args:
        folder: Where to look.
        names: What the split may be called, such as 'dev' and 'validation'.
        suffixes: What a file may end with.

    Raises:
        ValueError: There is no such folder or file, or there are several.
    """
    if not folder.is_dir():
        raise ValueError(
            f"there is no folder {folder}; name the one that holds the texts with --data.data_dir, "
            f"or leave data.data_dir at null to load them from the Hugging Face hub"
        )
    paths = [folder / f"{name}{suffix}" for name in names for suffix in suffixes]
    found = [path for path in paths if path.is_file()]
    if not found:
        raise ValueError(
            f"{folder} holds no file {' or '.join(names)} that ends with {', '.join(suffixes)}; "
            f"put it there, or name another folder with --data.data_dir"
        )
    if len(found) > 1:
        raise ValueError(
            f"{folder} holds {' and '.join(path.name for path in found)}, which are the same "
            f"part of the data; leave one of them there"
        )
    return found[0]


def class_label(value: Any, where: str) -> int:
    """The class that a label says: 0 or 1, as a number or as text.

    Raises:
        ValueError: It is anything else.
    """
    if isinstance(value, str):
        value = {"0": 0, "1": 1}.get(value.strip(), value)
    if type(value) is not int or value not in (0, 1):
        hint = ", which stands for no label" if value in (-1, "-1") else ""
        raise ValueError(
            f"the label in {where} is {value!r}{hint}; it must be 0 (negative) or 1 (positive): "
            f"correct the line or take it out"
        )
    return value


def read_labeled_texts(path: Path) -> LabeledTexts:
    """The texts and classes of a file, one a line; blank lines are none.

    A ``.tsv`` file has a line with the names of its columns and no quotes: a quotation mark is a
    part of the text. ``.jsonl`` has one object a line. The text is in a field 'sentence' or 'text',
    the class in 'label'. Either may be compressed (``.gz``).

    Args:
        path: A file with one of ``SUFFIXES``.

    Raises:
        ValueError: The file is damaged or not UTF-8, or a line lacks a field, has an empty text, or
            a label other than 0 and 1.
    """
    rows = _json_rows(path) if ".jsonl" in path.suffixes else _table_rows(path)
    return _collected(rows, str(path), class_label)


def read_trees(path: Path) -> LabeledTexts:
    """The whole sentences of a file of sentiment trees, one a line; neutral ones are left out.

    The class of a tree's root is 0 or 1 for negative, 3 or 4 for positive sentences (Socher et al.
    2013); 2 is neutral. A sentence is its leaves with a space between, as the release writes them:
    brackets as -LRB- and -RRB-, slashes and asterisks behind a backslash.

    Raises:
        ValueError: The file is damaged or not UTF-8, or a line is no such tree.
    """
    texts: list[str] = []
    labels: list[int] = []
    for where, line in _lines(path):
        tree = line.strip()
        leaves = _LEAF.findall(tree)
        nested = tree.count("(") == tree.count(")") and tree.endswith(")")
        if not (re.match(r"\([0-4] ", tree) and nested and leaves):
            raise ValueError(
                f"{where} is no sentiment tree such as '(3 (2 A) (4 (4 fine) (2 film)))', with a "
                f"class from 0 to 4 at each node; correct the line or take it out"
            )
        if tree[1] != "2":
            texts.append(" ".join(leaves))
            labels.append(int(tree[1] in "34"))
    return LabeledTexts(texts, labels, str(path))


def load_labeled_texts(
    name: str,
    split: str,
    revision: str | None = None,
    labelling: Labelling = class_label,
    folder: str | None = None,
) -> LabeledTexts:
    """The texts and classes of a split of a data set of Hugging Face's ``datasets`` library.

    Args:
        name: Name on the hub, or a local folder of files that the library reads.
        split: Which split.
        revision: Branch or commit; null takes the newest of the main branch.
        labelling: What a value of the label column means.
        folder: Folder of the data set that alone is read; null for all of it.

    Raises:
        ValueError: The data set cannot be loaded, or a row lacks a field, has an empty text or
            another label.
    """
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            f"the data set {name} needs the package datasets: install it with pip install "
            f"datasets, or name a folder with --data.data_dir"
        ) from error
    try:
        table = datasets.load_dataset(name, data_dir=folder, split=split, revision=revision)
        fields = [f for f in table.column_names if f in (*TEXT_FIELDS, LABEL_FIELD)]
        names, columns = list(table.column_names), [list(table[field]) for field in fields]
    except Exception as error:  # the library and the network raise all kinds
        raise ValueError(
            f"the data set {name} (split {split!r}) could not be loaded ({type(error).__name__}: "
            f"{one_line(error)}); check its name and the network and try again, or name a folder "
            f"with --data.data_dir"
        ) from error
    source = f"split {split!r} of the data set {name}"
    _fields_of(names, source)
    rows = (
        (f"row {number} of {source}", dict(zip(fields, values, strict=True)))
        for number, values in enumerate(zip(*columns, strict=True), 1)
    )
    return _collected(rows, source, labelling)


def _collected(
    rows: Iterator[tuple[str, dict[str, Any]]], source: str, labelling: Labelling
) -> LabeledTexts:
    """Texts and classes of rows, each with where it stands."""
    texts: list[str] = []
    labels: list[int] = []
    for where, row in rows:
        text_field = _fields_of(list(row), where)
        text = row[text_field]
        if not isinstance(text, str):
            raise ValueError(
                f"the field {text_field!r} in {where} is {type(text).__name__} and no text; "
                f"correct the line or take it out"
            )
        if not text.strip():
            raise ValueError(f"the text in {where} is empty; fill it in or take the line out")
        label = labelling(row[LABEL_FIELD], where)
        if label is not None:
            texts.append(text.strip(" \t\r\n"))
            labels.append(label)
    if not texts:
        raise ValueError(f"{source} holds no texts; make or fetch it again, or name another one")
    return LabeledTexts(texts, labels, source)


def _fields_of(names: Sequence[str], where: str) -> str:
    """Which field holds the text.

    Raises:
        ValueError: None of the names for it is there, or there is no label.
    """
    text_field = next((field for field in TEXT_FIELDS if field in names), None)
    if text_field is None or LABEL_FIELD not in names:
        missing = repr(LABEL_FIELD) if text_field else " or ".join(map(repr, TEXT_FIELDS))
        has = ", ".join(map(repr, names)) or "none"
        raise ValueError(
            f"{where} has no field {missing}, only {has}; the text must be in a field 'sentence' "
            f"or 'text' and its class in 'label': rename them"
        )
    return text_field


def _table_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    names: list[str] = []
    for where, line in _lines(path):
        cells = line.split("\t")
        if not names:
            names = [cell.strip() for cell in cells]
            _fields_of(names, where)
            continue
        if len(cells) != len(names):
            raise ValueError(
                f"{where} has {len(cells)} columns, and the first line names {len(names)}; put one "
                f"tab between two columns and none inside a text"
            )
        yield where, dict(zip(names, cells, strict=True))


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, line in _lines(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{where} is no valid JSON ({one_line(error)}); correct the line or take it out"
            ) from error
        if not isinstance(row, dict):
            raise ValueError(
                f"{where} is no JSON object but {type(row).__name__}; write one object a line, "
                f"with fields 'text' and 'label'"
            )
        yield where, row


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Lines that are not blank, each with where it stands.

    Bytes are split, since Python takes some characters of old encodings inside a text for ends of
    lines.
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
                raise ValueError(
                    f"{where} is not UTF-8; convert the file to UTF-8 and try again"
                ) from error
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise ValueError(
                    f"{path} is cut off or damaged at line {number} ({one_line(error)}); fetch or "
                    f"make the file again"
                ) from error
            if not line:
                return
            if not text.isspace():
                yield where, text.rstrip("\r\n")
