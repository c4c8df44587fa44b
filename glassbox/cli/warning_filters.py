"""Warnings that a user can do nothing about."""

from __future__ import annotations

import warnings


def silence_harmless_warnings() -> None:
    """Ignore them from now on, in this process."""
    for harmless in (
        "LeafSpec",  # Lightning 2.6 on torch 2.13: a rename inside torch's pytree
        "Experiment logs directory .* exists and is not empty",  # we made it, to claim its name
        "The dirpath has changed from",  # a resumed run has a folder of its own
        "smaller than the logging interval",  # one batch is an epoch of many steps
        "Be aware that when using",  # ... ckpt_path, callbacks of the checkpoint should be there
        "sync_dist=True",  # what is logged has been summed over the ranks
    ):
        warnings.filterwarnings("ignore", message=f".*{harmless}.*")
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="jsonargparse")
