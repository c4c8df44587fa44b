"""Stand-ins for a trainer, and the one item of a loader."""

from types import SimpleNamespace
from typing import Any

from lightning.pytorch.trainer.states import TrainerFn


def only(loader: Any) -> Any:
    """The only item of a loader."""
    (item,) = loader
    assert len(loader) == 1
    return item


def trainer(
    seeds: list[int] | None = None, epoch: int = 0, fn: TrainerFn = TrainerFn.FITTING
) -> SimpleNamespace:
    """What data modules read of a trainer."""
    return SimpleNamespace(
        lightning_module=SimpleNamespace(seeds=seeds),
        current_epoch=epoch,
        state=SimpleNamespace(fn=fn),
    )
