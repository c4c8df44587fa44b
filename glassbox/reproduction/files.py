"""Files that are complete or not there, whoever else writes into the same folder."""

from __future__ import annotations

import csv
import io
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_LARGE = 1_000_000  # bytes of a PNG


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, with line feeds on every system."""
    with _replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Write a table; cells that a row lacks are empty.

    Raises:
        ValueError: A row has a cell of no column.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_figure(folder: Path, name: str, figure: Figure) -> None:
    """Write a figure as PNG (150 dots an inch) and PDF, the same bytes for the same figure.

    A large PNG, of hundreds of small pictures, is written with 256 colors: half the size.
    """
    from matplotlib import rc_context
    from PIL import Image

    with _replacing(folder / f"{name}.png") as partial:
        figure.savefig(partial, format="png", dpi=150)
        if partial.stat().st_size > _LARGE:
            with Image.open(partial) as image:
                image.convert("RGB").quantize(256).save(partial, format="png", optimize=True)
    # Type 42 fonts, which journals ask for; no date, so that an unchanged figure is no change.
    with (
        rc_context({"pdf.fonttype": 42}),
        _replacing(folder / f"{name}.pdf") as partial,
    ):
        figure.savefig(partial, format="pdf", metadata={"CreationDate": None})


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, which may be the same one."""
    with _replacing(target) as partial:
        shutil.copyfile(source, partial)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A name to write under; then it becomes ``path`` in one move, or vanishes on an error."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
