"""Where a run writes: runs/<name>/version_N/, claimed so that two runs never share it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import lightning as L


def claim_version(folder: str) -> int:
    """Make the next free ``version_N`` below ``folder`` and return N.

    Making the folder is the claim: of two runs that start at the same moment (a SLURM array, say)
    one makes it, and the other goes on to the next number.
    """
    os.makedirs(folder, exist_ok=True)
    taken = [re.fullmatch(r"version_(\d+)", name) for name in os.listdir(folder)]
    version = max((int(match.group(1)) for match in taken if match), default=-1) + 1
    while True:
        try:
            os.mkdir(os.path.join(folder, f"version_{version}"))
            return version
        except FileExistsError:
            version += 1


def run_folder_loggers(root: str, name: str) -> list[dict[str, Any]]:
    """Configurations of a TensorBoard and a CSV logger that write into one new run folder.

    Args:
        root: Folder of all runs.
        name: The run's name, that of its config file.
    """
    version = claim_version(os.path.join(root, name))
    place = {"save_dir": root, "name": name, "version": version}
    # Without default_hp_metric=False TensorBoard shows an empty metric beside the final ones.
    options: dict[str, dict[str, Any]] = {
        "TensorBoardLogger": {"default_hp_metric": False},
        "CSVLogger": {},
    }
    return [
        {"class_path": f"lightning.pytorch.loggers.{logger}", "init_args": {**place, **more}}
        for logger, more in options.items()
    ]


def run_folder(trainer: L.Trainer) -> Path | None:
    """The folder that a run writes to, its first logger's; None without a logger."""
    return Path(trainer.log_dir) if trainer.loggers and trainer.log_dir is not None else None
