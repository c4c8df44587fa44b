"""Streams of text documents: local files in four formats, or a Hugging Face data set."""

from __future__ import annotations

import glob
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from datamodules.documents.files import SUFFIXES, Document, field_text, one_line, read_documents

PIECE = 1 << 20  # characters; longer documents come in pieces, so that memory does not grow


class Piece(NamedTuple):
    """A document, or a part of a long one."""

    text: str
    last: bool  # whether the document ends with it


class Documents(ABC):
    """A stream of documents that can be read again and again, always in the same order."""

    @abstractmethod
    def describe(self) -> dict[str, str | int]:
        """What tells this source from another, by names that a message can show."""

    @abstractmethod
    def documents(self, start: int = 0) -> Iterator[Document]:
        """The documents from number ``start`` on; those before it are not parsed."""

    def pieces(self, start: int = 0) -> Iterator[Piece]:
        """The documents from number ``start`` on, those above ``PIECE`` characters in pieces.

        A document is cut before a space between two letters, which is where byte-pair encodings
        cut anyway, so that its tokens are those of the whole; a document without such a place (in
        Chinese, say) is cut after ``PIECE`` characters.

        Raises:
            ValueError: A file or document cannot be read as what it claims to be.
        """
        for document in self.documents(start):
            text = document()
            if isinstance(text, str) and len(text) <= PIECE:
                yield Piece(text, True)
            elif isinstance(text, str):
                yield from _cut(text[i : i + PIECE] for i in range(0, len(text), PIECE))
            else:
                yield from _cut(text)

    def __iter__(self) -> Iterator[str]:
        """Whole documents."""
        parts: list[str] = []
        for piece in self.pieces():
            parts.append(piece.text)
            if piece.last:
                yield "".join(parts)
                parts.clear()


class FileDocuments(Documents):
    """Documents of local files, in the sorted order of their paths.

    A ``.txt`` file is one document; ``.jsonl`` and ``.jsonl.gz`` hold one JSON object a line, and
    ``.parquet`` one row a document, with the text in a field. Of long documents a part is held at a
    time, except that Parquet's own reader takes four to five times the size of a cell.

    Args:
        patterns: One glob pattern or several; ``**`` stands for any folders.
        field: Where JSON and Parquet hold the text.

    Raises:
        ValueError: A pattern matches no file, or a file has another suffix.
    """

    def __init__(self, patterns: str | Sequence[str], field: str = "text") -> None:
        self.field = field
        found: set[str] = set()
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            expanded = str(Path(pattern).expanduser())
            matches = {p for p in glob.glob(expanded, recursive=True) if Path(p).is_file()}
            if not matches:
                raise ValueError(
                    f"no file matches {pattern!r}; give the path of a file or a pattern such as "
                    f"'data/**/*.jsonl' of files that are {', '.join(SUFFIXES)}"
                )
            found |= matches
        if not found:
            raise ValueError(
                f"no files are given; give the path of a file or a pattern such as "
                f"'data/**/*.jsonl' of files that are {', '.join(SUFFIXES)}"
            )
        self.paths = [Path(path) for path in sorted(found)]
        for path in self.paths:
            if not path.name.endswith(SUFFIXES):
                raise ValueError(
                    f"{path} is none of {', '.join(SUFFIXES)}; convert it, or give a pattern that "
                    f"leaves it out"
                )

    def describe(self) -> dict[str, str | int]:
        """Number and total size of the files, a checksum of their paths and sizes, the field."""
        sizes = [path.stat().st_size for path in self.paths]
        listing = json.dumps([str(p.absolute()) for p in self.paths] + [str(s) for s in sizes])
        return {
            "files": len(self.paths),
            "bytes": sum(sizes),
            "paths and sizes": hashlib.sha256(listing.encode()).hexdigest()[:16],
            "text field": self.field,
        }

    def documents(self, start: int = 0) -> Iterator[Document]:
        """The documents from number ``start`` on, each parsed when it is called."""
        for path in self.paths:
            for document in read_documents(path, self.field):
                if start > 0:
                    start -= 1
                else:
                    yield document


class HubDocuments(Documents):
    """Documents of a data set of Hugging Face's ``datasets`` library, streamed.

    Args:
        name: Name on the hub, such as 'Skylion007/openwebtext', a local folder, or a format such
            as 'json' or 'parquet' together with ``data_files``.
        field: The column that holds the text.
        split: Which split of the data set, 'train' as a rule.
        config: Name of a configuration, where the data set has several.
        data_files: Files or patterns, where ``name`` is a format.
        revision: Branch or commit of the data set; null takes the newest of its main branch.
    """

    def __init__(
        self,
        name: str,
        field: str = "text",
        split: str = "train",
        config: str | None = None,
        data_files: str | list[str] | None = None,
        revision: str | None = None,
    ) -> None:
        self.name = name
        self.revision = revision
        self.field = field
        self.split = split
        self.config = config
        self.data_files = data_files

    def describe(self) -> dict[str, str | int]:
        """Name, configuration, split, files and column."""
        files = [self.data_files] if isinstance(self.data_files, str) else self.data_files or []
        return {
            "data set": self.name,
            "configuration": self.config or "",
            "split": self.split,
            "revision": self.revision or "",
            "data files": " ".join(files),
            "text field": self.field,
        }

    def documents(self, start: int = 0) -> Iterator[Document]:
        """The documents from number ``start`` on.

        Raises:
            ValueError: The data set cannot be loaded, or has no such column.
        """
        try:
            import datasets
        except ImportError as error:
            raise ValueError(
                f"the data set {self.name} needs the package datasets: install it with pip install "
                f"datasets, or give local files"
            ) from error
        number = start
        try:
            rows = datasets.load_dataset(
                self.name,
                self.config,
                split=self.split,
                data_files=self.data_files,
                revision=self.revision,
                streaming=True,
            )
            for row in rows.skip(start) if start else rows:
                number += 1
                where = f"row {number} of the data set {self.name}"
                yield partial(field_text, row, self.field, where)
        except Exception as error:  # the library and the network raise all kinds
            raise ValueError(
                f"the data set {self.name} (split {self.split!r}) could not be loaded beyond row "
                f"{number} ({type(error).__name__}: {one_line(error)}); check its name, split and "
                f"files and the network and try again, or give local files"
            ) from error


def _cut(parts: Iterable[str]) -> Iterator[Piece]:
    """Cuts a text that comes in parts; where it is cut does not depend on the parts."""
    rest = ""
    for part in parts:
        rest += part
        while len(rest) > PIECE:
            end = _last_gap(rest)
            yield Piece(rest[:end], False)
            rest = rest[end:]
    yield Piece(rest, True)


def _last_gap(text: str) -> int:
    """The last place of the first ``PIECE`` characters to cut at, in their second half."""
    end = PIECE
    while (end := text.rfind(" ", PIECE // 2, end)) > 0:
        if text[end - 1].isalpha() and text[end + 1].isalpha():
            return end
    return PIECE
