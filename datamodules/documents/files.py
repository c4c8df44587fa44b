"""Reads documents out of files: plain text, lines of JSON, Parquet. None is held as a whole."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from datamodules.documents.long_lines import text_of_line

SUFFIXES = (".txt", ".jsonl", ".jsonl.gz", ".parquet")
LINE = 1 << 24  # bytes; longer lines of JSON are read bit by bit
CHUNK = 1 << 20  # bytes that are read at once

# A document that is read when it is called: its text, or parts of it in their order.
Document = Callable[[], str | Iterable[str]]


def read_documents(path: Path, field: str) -> Iterator[Document]:
    """The documents of a file, each parsed when it is called and before the next is asked for.

    Args:
        path: A file with one of ``SUFFIXES``.
        field: Where JSON and Parquet hold the text.

    Raises:
        ValueError: The file or a document is broken, or has no text in that field.
    """
    if path.suffix == ".txt":
        return iter([partial(_text, path)])
    if path.suffix == ".parquet":
        return _parquet(path, field)
    return _json_lines(path, field)


def _text(path: Path) -> Iterator[str]:
    """The text of a file, bit by bit."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    lines = 1
    with path.open("rb") as file:
        while True:
            chunk = file.read(CHUNK)
            try:
                yield decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                lines += error.object[: error.start].count(b"\n")
                raise ValueError(_not_utf8(f"line {lines} of {path}")) from error
            lines += chunk.count(b"\n")
            if not chunk:
                return


def _json_lines(path: Path, field: str) -> Iterator[Document]:
    """The documents of a file of JSON objects, one a line; blank lines are none."""
    number = 0
    with _opened(path) as file:
        while True:
            number += 1
            try:
                line = file.readline(LINE)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise ValueError(_bad_gzip(path, number, error)) from error
            if not line:
                return
            if len(line) < LINE or line.endswith(b"\n"):
                if not line.isspace():
                    yield partial(_parse, line, field, path, number)
                continue
            rest = _rest_of_line(line, file, path, number)
            yield partial(_parse_long, rest, field, path, number)
            for _ in rest:  # where the reader did not want the document
                pass


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.open(path), CHUNK)
    return path.open("rb", CHUNK)


def _rest_of_line(line: bytes, file: IO[bytes], path: Path, number: int) -> Iterator[bytes]:
    while line:
        yield from (line[i : i + CHUNK] for i in range(0, len(line), CHUNK))
        if line.endswith(b"\n"):
            return
        try:
            line = file.readline(CHUNK)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(_bad_gzip(path, number, error)) from error


def _parse(line: bytes, field: str, path: Path, number: int) -> str:
    """The text of a line of JSON."""
    where = f"line {number} of {path}"
    try:
        value = json.loads(line)
    except UnicodeDecodeError as error:
        raise ValueError(_not_utf8(where)) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(_not_json(where, error)) from error
    if not isinstance(value, dict):
        raise ValueError(
            f"{where} is no JSON object but {type(value).__name__}; write one object a line, with "
            f"the text in a field {field!r}"
        )
    return field_text(value, field, where)


def _parse_long(parts: Iterable[bytes], field: str, path: Path, number: int) -> Iterator[str]:
    """The text of a line of JSON that is too long to be held."""
    where = f"line {number} of {path}"
    try:
        yield from text_of_line(parts, field)
    except UnicodeDecodeError as error:
        raise ValueError(_not_utf8(where)) from error
    except ValueError as error:
        raise ValueError(_not_json(where, error)) from error
    except KeyError as error:
        raise ValueError(_no_field(field, error.args[0], where)) from error
    except TypeError as error:
        raise ValueError(_no_text(field, str(error), where)) from error


def _parquet(path: Path, field: str) -> Iterator[Document]:
    """The rows of a Parquet file."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ValueError(
            f"{path} needs the package pyarrow: install it with pip install pyarrow, or give files "
            f"that are .jsonl or .txt"
        ) from error
    try:
        file = pq.ParquetFile(path, buffer_size=CHUNK, pre_buffer=False)
    except pa.ArrowInvalid as error:
        raise ValueError(_bad_parquet(path, error)) from error
    with file:
        schema = file.schema_arrow
        if field not in schema.names:
            raise ValueError(_no_field(field, schema.names, str(path)))
        kind = schema.field(field).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise ValueError(_no_text(field, str(kind), str(path)))
        rows, size = (
            file.metadata.num_rows,
            sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)),
        )
        # as many rows at once as make about eight chunks
        batch_rows = max(1, min(1024, 8 * CHUNK * rows // max(size, 1)))
        number = 0
        try:
            for batch in file.iter_batches(batch_rows, columns=[field]):
                column = batch.column(0)
                if pa.types.is_dictionary(column.type):
                    column = column.dictionary_decode()
                for cell in column:
                    number += 1
                    yield partial(_cell, cell, field, f"row {number} of {path}")
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(_bad_parquet(path, error)) from error


def _cell(cell: Any, field: str, where: str) -> str | Iterator[str]:
    """The text of a cell of an Arrow column, bit by bit if it is long."""
    buffer = cell.as_buffer()
    if buffer is None:
        raise ValueError(_no_text(field, "null", where))
    if buffer.size > CHUNK:
        return _decode_long(memoryview(buffer), where)
    try:
        return str(buffer, "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(_not_utf8(where)) from error


def _decode_long(data: memoryview, where: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for i in range(0, len(data), CHUNK):
            yield decoder.decode(data[i : i + CHUNK], final=i + CHUNK >= len(data))
    except UnicodeDecodeError as error:
        raise ValueError(_not_utf8(where)) from error


def field_text(row: dict[str, Any], field: str, where: str) -> str:
    """The text in a field of a row; ``where`` names the row in a message."""
    if field not in row:
        raise ValueError(_no_field(field, list(row), where))
    if not isinstance(row[field], str):
        raise ValueError(_no_text(field, type(row[field]).__name__, where))
    return row[field]


def _no_field(field: str, names: Sequence[str], where: str) -> str:
    has = ", ".join(map(repr, names)) or "none"
    return f"{where} has no field {field!r}, only {has}; name the one that holds the text"


def _no_text(field: str, kind: str, where: str) -> str:
    return (
        f"the field {field!r} in {where} is {kind} and no text; name the field that holds the "
        f"text, or take that document out"
    )


def _not_json(where: str, error: Exception) -> str:
    return f"{where} is no valid JSON ({one_line(error)}); correct the line or take it out"


def _not_utf8(where: str) -> str:
    return f"{where} is not UTF-8; convert the file to UTF-8 or leave it out"


def _bad_gzip(path: Path, line: int, error: Exception) -> str:
    return (
        f"{path} is cut off or damaged at line {line} ({one_line(error)}); fetch or make the file "
        f"again"
    )


def _bad_parquet(path: Path, error: Exception) -> str:
    return f"{path} cannot be read as Parquet ({one_line(error)}); fetch or make the file again"


def one_line(error: Exception) -> str:
    """What an error says, as a part of a sentence."""
    return " ".join(str(error).split()).rstrip(".")
