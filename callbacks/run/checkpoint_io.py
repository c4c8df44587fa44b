"""Files that are written completely or not at all, and checkpoints as such files."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

LAST, PREVIOUS = "last", "previous"
# A file that is being written changes all the time, however slow the disk.
_ABANDONED_AFTER_SECONDS = 3600


@contextmanager
def atomic_write(path: Path, backup: Path | None = None) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces ``path`` once it is complete and flushed to the disk.

    If the block raises, ``path`` stays as it was. ``backup`` is a new name for the file that is
    already there; a process killed between the two renames leaves only the backup.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if backup is not None and path.exists():
            os.replace(path, backup)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # flush the new names too; Windows has no such call
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically; nan and infinity raise a ValueError."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    with atomic_write(path) as file:
        file.write(text.encode())


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write checkpoints atomically, and keep the previous ``last.ckpt`` as ``previous.ckpt``.

    Lightning 2.6 writes to the system's temporary folder and moves the file from there. On a
    cluster that move is usually a copy between file systems, so a process killed meanwhile leaves
    half a checkpoint. It does not flush to the disk either.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        backup = None
        if target.stem.startswith(LAST):
            backup = target.with_name(PREVIOUS + target.name[len(LAST) :])
        try:
            with atomic_write(target, backup) as file:
                torch.save(checkpoint, file)
        except BaseException as error:
            # An interrupted torch.save raises its own error about the incomplete file.
            if interrupt := _interrupt(error):
                raise interrupt from None
            raise


def remove_abandoned(folder: Path) -> None:
    """Delete temporary files that killed processes left in the ``checkpoints`` of this run's name.

    Files younger than an hour stay, because another run may be writing them.
    """
    if not folder.parent.name.startswith("version_"):
        return
    for path in folder.parent.parent.glob("version_*/checkpoints/*.ckpt.partial"):
        try:
            if time.time() - path.stat().st_mtime > _ABANDONED_AFTER_SECONDS:
                path.unlink()
        except OSError:  # deleted by another run meanwhile, or owned by another user
            continue


def _interrupt(error: BaseException | None) -> BaseException | None:
    """The KeyboardInterrupt or SystemExit that caused an error, if one did."""
    while error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
        error = error.__cause__ or error.__context__
    return error
