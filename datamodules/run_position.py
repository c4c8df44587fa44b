"""Where a run is among its ranks, and which data it must go on with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.trainer.states import TrainerFn


def place(trainer: Any) -> tuple[int, int, bool]:
    """This rank, the number of ranks, and whether memory should be pinned for a GPU.

    Args:
        trainer: The data module's; None in a notebook.
    """
    if trainer is None:
        return 0, 1, False
    on_gpu = trainer.strategy.root_device.type == "cuda"
    return trainer.global_rank, trainer.world_size, on_gpu


def run_seed(seed: int | None) -> int:
    """A data module's seed; None means the run's ``seed_everything``."""
    # seed_everything leaves it in the environment, for the other ranks too.
    return int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed


def refuse_other_data(
    trainer: Any, there: Mapping[str, Any], here: Mapping[str, Any], consequence: str
) -> None:
    """Refuse to go on with other data than those of the run that wrote a checkpoint.

    Args:
        trainer: The data module's; anything but `fit` may use other data.
        there: What the checkpoint says, by name; what it does not say is not compared.
        here: What is so now.
        consequence: What is wrong with a difference: "so that ...".

    Raises:
        ValueError: Names the first that differs.
    """
    if trainer is None or trainer.state.fn != TrainerFn.FITTING:
        return
    for name, value in here.items():
        if (stored := there.get(name, value)) != value:
            raise ValueError(
                f"the checkpoint was written by a run with {name} {stored}, and now it is {value}, "
                f"{consequence}; go back to that, or start a new run"
            )
