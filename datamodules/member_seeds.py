"""Which seeds the members of a run have: those of the model, unless the data names its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


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
