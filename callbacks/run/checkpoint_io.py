"""Checkpoint files that are either complete or not there, and the one before beside the last."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.cloud_io import _is_local_file_protocol
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.plugins.io import TorchCheckpointIO

LAST, PREVIOUS = "last", "previous"
# A file that is being written changes all the time, however slow the disk.
_ABANDONED_AFTER_SECONDS = 3600


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under another name, and gives it its own when it is on the disk.

    Lightning 2.6 builds the file in memory, writes it to the system's temporary folder and moves it
    from there: across file systems, the usual case on a cluster, the move is a copy, and a process
    that is killed meanwhile leaves half a file. It asks for no flush to the disk either.

    Where a ``last.ckpt`` is there already, it goes on as ``previous.ckpt``: a run holds two
    checkpoints, and three while one is being written. An exception takes the unfinished file with
    it; what a process that was killed leaves is removed by ``remove_abandoned``.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None
    ) -> None:
        if storage_options is not None or not _is_local_file_protocol(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.partial")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            # Killed between these two, a run has the previous checkpoint, which is whole.
            if target.stem.startswith(LAST) and target.exists():
                os.replace(target, target.with_name(PREVIOUS + target.name[len(LAST) :]))
            os.replace(partial, target)
        except BaseException as error:
            partial.unlink(missing_ok=True)
            # PyTorch's writer complains of the half file that an interrupt leaves, and hides it.
            if interrupt := _interrupt(error):
                raise interrupt from None
            raise
        _flush_folder(target.parent)


def remove_abandoned(folder: Path) -> None:
    """Remove what killed runs left of checkpoints that they were writing.

    Other runs may write at this moment; a file counts as left when nobody has for an hour.

    Args:
        folder: ``checkpoints`` of one run; those of all runs of the same name are looked at.
    """
    if not folder.parent.name.startswith("version_"):
        return
    for path in folder.parent.parent.glob("version_*/checkpoints/*.ckpt.partial"):
        try:
            if time.time() - path.stat().st_mtime > _ABANDONED_AFTER_SECONDS:
                path.unlink()
        except OSError:  # another run was faster, or it is another user's
            continue


def _interrupt(error: BaseException | None) -> BaseException | None:
    """The KeyboardInterrupt or SystemExit that led to an error; None if there was none."""
    while error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
        error = error.__cause__ or error.__context__
    return error


def _flush_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk (POSIX; Windows has no such call)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
