"""A Trainer for tests: on one CPU, without output."""

from __future__ import annotations

from typing import Any

import lightning as L


def quiet_trainer(*callbacks: L.Callback, **options: Any) -> L.Trainer:
    """A trainer of one epoch without logger, sanity check, checkpoints or progress bar."""
    return L.Trainer(
        **{
            "callbacks": list(callbacks),
            "logger": False,
            "accelerator": "cpu",
            "devices": 1,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "use_distributed_sampler": False,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
            "max_epochs": 1,
            **options,
        }
    )
