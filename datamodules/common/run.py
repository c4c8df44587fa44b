"""Which seeds the members of a run have: those of the model, unless the data names its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
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


def check_resume_data(
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


def member_seeds(
    seeds: Sequence[int] | None, trainer: Any, default: Sequence[int] = (0,)
) -> list[int]:
    """One seed for each member.

    Args:
        seeds: The data module's own; None takes those of the model that is trained.
        trainer: The data module's; None in a notebook.
        default: The seeds where neither names any.

    Raises:
        ValueError: Both name seeds, and others.
    """
    module = trainer.lightning_module if trainer is not None else None
    of_model = getattr(module, "seeds", None)
    if seeds is None:
        return list(of_model or default)
    if of_model and list(of_model) != list(seeds):
        raise ValueError(
            f"data.seeds are {list(seeds)} and model.seeds are {list(of_model)}; leave data.seeds "
            f"at null to use the model's"
        )
    return list(seeds)
