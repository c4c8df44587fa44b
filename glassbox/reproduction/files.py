"""Write files so that they are complete or absent, whatever interrupts the program."""

from __future__ import annotations

import csv
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LARGE = 1_000_000  # bytes of a PNG


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path, whose file becomes ``path`` at the end of a block without error."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        _flush(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replacing_together(folder: Path) -> Iterator[Path]:
    """Give an empty folder, whose files move to ``folder`` at the end of a block without error."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(".partial", ".", folder) as scratch:
        yield Path(scratch)
        files = sorted(Path(scratch).iterdir())
        for path in files:
            _flush(path)
        for path in files:
            os.replace(path, folder / path.name)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with line feeds on every system."""
    path.write_text(text, encoding="utf-8", newline="\n")


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Write a table; cells that a row lacks are empty."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_figure(folder: Path, name: str, figure: Figure) -> None:
    """Write a figure as PNG (150 dpi) and PDF; the same figure gives the same bytes.

    A large PNG, of hundreds of small panels, is reduced to 256 colors, which halves its size.
    """
    from matplotlib import rc_context
    from PIL import Image

    path = folder / f"{name}.png"
    figure.savefig(path, dpi=150)
    if path.stat().st_size > _LARGE:
        with Image.open(path) as image:
            reduced = image.convert("RGB").quantize(256)
        reduced.save(path, optimize=True)
    with rc_context({"pdf.fonttype": 42}):  # TrueType, as journals require
        figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})


def _flush(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
