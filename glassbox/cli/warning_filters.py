"""Warnings that a user can do nothing about."""

from __future__ import annotations

import os
import warnings

_HARMLESS = (
    "LeafSpec",  # Lightning 2.6 on torch 2.13: a rename inside torch's pytree
    "Experiment logs directory .* exists and is not empty",  # we made it, to claim its name
    "The dirpath has changed from",  # a resumed run has a folder of its own
    "smaller than the logging interval",  # one batch may hold an epoch of many steps
    "Be aware that when using",  # ... ckpt_path, a callback of the checkpoint is missing
    "sync_dist=True",  # what is logged has been summed over the ranks
)


def silence_harmless_warnings() -> None:
    """Ignore them from now on, in this process."""
    for message in _HARMLESS:
        warnings.filterwarnings("ignore", message=f".*{message}.*")
    if "SLURM_JOB_ID" not in os.environ:  # a login node has srun, and no job to use it in
        warnings.filterwarnings("ignore", message="The `srun` command is available.*")
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="jsonargparse")
