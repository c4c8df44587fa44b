"""Sources of documents: local files in four formats, or a Hugging Face data set."""

from __future__ import annotations

import glob
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from datamodules.common.options import one_line
from datamodules.documents.files import SUFFIXES, Document, field_text, read_documents

# Characters. Longer documents are split into pieces, which several threads can encode.
PIECE = 1 << 20


class Piece(NamedTuple):
    """A document, or a part of a long one."""

    text: str
    last: bool  # whether the document ends here


class Documents(ABC):
    """A stream of documents that can be read repeatedly, always in the same order."""

    @abstractmethod
    def describe(self) -> dict[str, str | int]:
        """Properties that distinguish this source from another, by name."""

    @abstractmethod
    def documents(self, start: int = 0) -> Iterator[Document]:
        """The documents from index ``start``; earlier ones are not parsed."""

    def pieces(self, start: int = 0) -> Iterator[Piece]:
        """The documents from index ``start``, split into pieces of at most ``PIECE`` characters.

        Documents are split before a space between two letters, where byte-pair encodings split
        anyway, so the tokens are those of the whole document. A document without such a place (in
        Chinese, say) is split after ``PIECE`` characters.
        """
        for document in self.documents(start):
            text, begin = document(), 0
            while len(text) - begin > PIECE:
                end = _split_point(text, begin)
                yield Piece(text[begin:end], False)
                begin = end
            yield Piece(text[begin:], True)


class FileDocuments(Documents):
    """Documents of local files, in the sorted order of their paths.

    A ``.txt`` file is one document; ``.jsonl`` and ``.jsonl.gz`` have one JSON object per line, and
    ``.parquet`` one document per row, with the text in a field. A file that is reached through
    several paths (symbolic links) is read once.

    Args:
        patterns: One glob pattern or several; ``**`` matches any folders.
        field: Field of the text in JSON and Parquet.

    Raises:
        ValueError: A pattern matches no file, or a file has another suffix.
    """

    def __init__(self, patterns: str | Sequence[str], field: str = "text") -> None:
        self.field = field
        hint = f"give a path or a pattern such as 'data/**/*.jsonl' of {', '.join(SUFFIXES)} files"
        paths: set[Path] = set()
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            matches = map(Path, glob.glob(str(Path(pattern).expanduser()), recursive=True))
            files = {path for path in matches if path.is_file()}
            if not files:
                raise ValueError(f"no file matches {pattern!r}; {hint}")
            paths |= files
        if not paths:
            raise ValueError(f"files is empty; {hint}")
        unique: dict[Path, Path] = {}  # by the file itself
        for path in sorted(paths, key=str):
            unique.setdefault(path.resolve(), path)
        self.paths = list(unique.values())
        for path in self.paths:
            if not path.name.endswith(SUFFIXES):
                raise ValueError(f"{path} is not one of {', '.join(SUFFIXES)}; {hint}")

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
        """The documents from index ``start``, each parsed when it is called."""
        for path in self.paths:
            for document in read_documents(path, self.field):
                if start > 0:
                    start -= 1
                else:
                    yield document


class HubDocuments(Documents):
    """Documents of the split 'train' of a Hugging Face data set, streamed.

    Args:
        name: Name on the hub, such as 'Skylion007/openwebtext', or a local folder.
        field: Column of the text.
        revision: Branch or commit of the data set; null takes the newest of its main branch.
    """

    def __init__(self, name: str, field: str = "text", revision: str | None = None) -> None:
        self.name = name
        self.field = field
        self.revision = revision

    def describe(self) -> dict[str, str | int]:
        """Name, split, revision and column."""
        return {
            "data set": self.name,
            "split": "train",
            "revision": self.revision or "",
            "text field": self.field,
        }

    def documents(self, start: int = 0) -> Iterator[Document]:
        """The documents from index ``start``."""
        try:
            import datasets
        except ImportError as error:
            raise ValueError(
                f"the data set {self.name} requires the package datasets: run pip install "
                f"datasets, or set --data.files to local files"
            ) from error
        number = start
        try:
            rows = datasets.load_dataset(
                self.name, split="train", revision=self.revision, streaming=True
            )
            for row in rows.skip(start) if start else rows:
                number += 1
                where = f"row {number} of the data set {self.name}"
                yield partial(field_text, row, self.field, where)
        except Exception as error:  # the library and the network raise many types
            raise ValueError(
                f"the data set {self.name} could not be loaded beyond row {number} "
                f"({type(error).__name__}: {one_line(error)}); check its name and the network, or "
                f"set --data.files to local files"
            ) from error


def _split_point(text: str, begin: int) -> int:
    """Where to end the piece that starts at ``begin``: at a gap in the second half, if any."""
    end = limit = begin + PIECE
    while (end := text.rfind(" ", begin + PIECE // 2, end)) > begin:
        if text[end - 1].isalpha() and text[end + 1].isalpha():
            return end
    return limit
