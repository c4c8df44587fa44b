"""Checkpoint files that are either complete or not there, and the one before beside the last."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.cloud_io import _is_local_file_protocol
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.plugins.io import TorchCheckpointIO

LAST, PREVIOUS = "last", "previous"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under another name, and gives it its own when it is on the disk.

    Lightning 2.6 builds the file in memory, writes it to the system's temporary folder and moves it
    from there: across file systems, the usual case on a cluster, the move is a copy, and a process
    that is killed meanwhile leaves half a file. It asks for no flush to the disk either.

    Where a ``last.ckpt`` is there already, it goes on as ``previous.ckpt``: a run holds two
    checkpoints, and three while one is being written.
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
        with partial.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        # Killed between these two, a run has the previous checkpoint, which is whole.
        if target.stem.startswith(LAST) and target.exists():
            os.replace(target, target.with_name(PREVIOUS + target.name[len(LAST) :]))
        os.replace(partial, target)
        _flush_folder(target.parent)


def _flush_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk (POSIX; Windows has no such call)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
