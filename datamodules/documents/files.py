"""Documents from files: plain text, lines of JSON, Parquet."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

from datamodules.common.options import one_line

SUFFIXES = (".txt", ".jsonl", ".jsonl.gz", ".parquet")
BUFFER = 1 << 20  # bytes read at once

# Returns the text of a document. Skipping a document is cheap: it is parsed when it is called.
Document = Callable[[], str]


def read_documents(path: Path, field: str) -> Iterator[Document]:
    """The documents of a file: a .txt file is one, a line of JSON or a row of Parquet is one.

    Each must be called before the next is asked for.
    """
    if path.suffix == ".txt":
        return iter([partial(_plain_text, path)])
    if path.suffix == ".parquet":
        return _parquet(path, field)
    return _json_lines(path, field)


def _plain_text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(_not_utf8(f"line {line} of {path}")) from error


def _json_lines(path: Path, field: str) -> Iterator[Document]:
    """The documents of a file with one JSON object per line; blank lines are skipped."""
    number = 0
    with _open(path) as file:
        while True:
            number += 1
            try:
                line = file.readline()
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise ValueError(
                    f"{path} is truncated or damaged at line {number} ({one_line(error)}); "
                    f"download or create the file again"
                ) from error
            if not line:
                return
            if not line.isspace():
                yield partial(_json_text, line, field, f"line {number} of {path}")


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.open(path), BUFFER)
    return path.open("rb", BUFFER)


def _json_text(line: bytes, field: str, where: str) -> str:
    try:
        value = json.loads(line)
    except UnicodeDecodeError as error:
        raise ValueError(_not_utf8(where)) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{where} is not valid JSON ({one_line(error)}); fix or remove the line"
        ) from error
    if not isinstance(value, dict):
        raise ValueError(
            f"{where} is a JSON {type(value).__name__}, expected an object; write one object per "
            f"line, with the text in a field {field!r}"
        )
    return field_text(value, field, where)


def _parquet(path: Path, field: str) -> Iterator[Document]:
    """The rows of a Parquet file."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ValueError(
            f"reading {path} requires pyarrow: run pip install pyarrow, or use .jsonl or .txt files"
        ) from error
    number = 0
    try:
        with pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:
            if field not in file.schema_arrow.names:
                raise ValueError(_no_field(field, file.schema_arrow.names, str(path)))
            # Few rows at a time, about 8 MB.
            size = sum(
                file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)
            )
            rows = max(1, min(1024, (8 << 20) * file.metadata.num_rows // max(size, 1)))
            for batch in file.iter_batches(rows, columns=[field]):
                for cell in batch.column(0):
                    number += 1
                    yield partial(_cell_text, cell, field, f"row {number} of {path}")
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"{path} is not a valid Parquet file ({one_line(error)}); download or create the file "
            f"again"
        ) from error


def _cell_text(cell: Any, field: str, where: str) -> str:
    try:
        return field_text({field: cell.as_py()}, field, where)
    except UnicodeDecodeError as error:
        raise ValueError(_not_utf8(where)) from error


def field_text(row: dict[str, Any], field: str, where: str) -> str:
    """The text in a field of a row."""
    if field not in row:
        raise ValueError(_no_field(field, list(row), where))
    text = row[field]
    if not isinstance(text, str):
        raise ValueError(
            f"field {field!r} in {where} is {type(text).__name__}, expected a string; set "
            f"--data.text_field to the field with the text, or remove the document"
        )
    return text


def _no_field(field: str, names: list[str], where: str) -> str:
    fields = ", ".join(map(repr, names)) or "none"
    return (
        f"{where} has no field {field!r}; its fields are {fields}. Set --data.text_field to the "
        f"field with the text"
    )


def _not_utf8(where: str) -> str:
    return f"{where} is not UTF-8; convert the file to UTF-8 or remove it"
