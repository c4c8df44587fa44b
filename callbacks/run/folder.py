"""The folder of a run: runs/<name>/version_N/, never the same for two runs."""

from __future__ import annotations

import os
import re

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only


def claim_version(folder: str) -> int:
    """Make the next free ``version_N`` below ``folder`` and return N.

    If two runs start at the same moment (in a SLURM array, say), only one of them can make a
    folder, and the other takes the next number.
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


def run_folder_loggers(root: str, name: str) -> list[Logger]:
    """A TensorBoard and a CSV logger that write into one new run folder, ``root/name/version_N``.

    Only the first rank makes a folder; the loggers of other ranks write nothing.
    """
    first = getattr(rank_zero_only, "rank", 0) == 0  # from the launcher's environment
    version = claim_version(os.path.join(root, name)) if first else "other_rank"
    return [
        # Without default_hp_metric=False TensorBoard shows an empty metric beside the final ones.
        TensorBoardLogger(root, name, version, default_hp_metric=False),
        CSVLogger(root, name, version),
    ]
