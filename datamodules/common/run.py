"""Facts about the current run: rank, seeds, and whether a checkpoint was trained on this data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn


def rank_world_pin(trainer: L.Trainer | None) -> tuple[int, int, bool]:
    """This rank, the number of ranks, and whether batches should lie in pinned memory for a GPU."""
    if trainer is None:
        return 0, 1, False
    on_gpu = trainer.strategy.root_device.type == "cuda"
    return trainer.global_rank, trainer.world_size, on_gpu


def run_seed(seed: int | None) -> int:
    """A data module's seed; None means the run's ``seed_everything``."""
    # seed_everything stores it in the environment, for the other ranks too.
    return int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed


def member_seeds(
    seeds: Sequence[int] | None, trainer: L.Trainer | None, default: Sequence[int] = (0,)
) -> list[int]:
    """One seed per member: the data module's own, else the model's, else the default."""
    module = trainer.lightning_module if trainer is not None else None
    model_seeds = getattr(module, "seeds", None)
    if seeds is None:
        return list(model_seeds or default)
    if model_seeds and list(model_seeds) != list(seeds):
        raise ValueError(
            f"data.seeds is {list(seeds)} but model.seeds is {list(model_seeds)}; set data.seeds "
            f"to null to use the model's"
        )
    return list(seeds)


def check_resume_data(
    trainer: L.Trainer | None, saved: Mapping[str, Any], current: Mapping[str, Any]
) -> None:
    """Check that a resumed run trains on the data of the run that wrote the checkpoint."""
    if trainer is None or trainer.state.fn != TrainerFn.FITTING:
        return
    for name, value in current.items():
        if (before := saved.get(name, value)) != value:
            raise ValueError(
                f"the checkpoint was saved with {name}={before} but this run uses {value}, so the "
                f"same step would have different data. Use {before}, or start a new run"
            )
