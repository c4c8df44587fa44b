"""BaseModule: what every LightningModule of this package does about checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Self

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch.optim.lr_scheduler import LambdaLR

from lightning_modules.training.optim import (
    configured_hyperparameters,
    override_restored_hyperparameters,
    rebuild_schedule,
)
from lightning_modules.training.renamed import rename_hyper_parameters, rename_parameters
from lightning_modules.training.specs import check_data_matches_model, to_spec


class BaseModule(L.LightningModule):
    """Base of the four LightningModules: checkpoints that describe their model, and old ones.

    A checkpoint of an earlier version loads under today's names. A resumed run trains with the
    optimizer settings of its config, not with those of the checkpoint.
    """

    sizes: dict[str, int]  # that the data must have as well, such as {"vocab_size": 31}

    def __init__(self) -> None:
        super().__init__()
        self._configured: list[dict[str, Any]] = []

    def attached_trainer(self) -> L.Trainer | None:
        """The trainer; None in a notebook without one, where ``self.trainer`` would raise."""
        return self._trainer

    def data(self) -> Any:
        """The trainer's data module; None without a trainer, or with plain loaders."""
        return getattr(self.attached_trainer(), "datamodule", None)

    def setup(self, stage: str) -> None:
        check_data_matches_model(self, self.sizes, self.data())

    def _describe_in_checkpoint(self, **factories: Callable[..., Any] | dict[str, Any]) -> None:
        """Store classes as plain data among the hyper-parameters, rather than as objects."""
        for name, factory in factories.items():
            if callable(factory) and callable(self.hparams.get(name)):
                self.hparams[name] = to_spec(factory)

    def plain_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer without Lightning's wrapper, which calls every callback at every step."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert not isinstance(optimizer, list)  # there is one
        return optimizer

    def on_fit_start(self) -> None:
        self._configured = configured_hyperparameters(self.plain_optimizer())

    def on_train_start(self) -> None:
        if not self.trainer.ckpt_path:
            return
        optimizer, schedules = self.plain_optimizer(), self.trainer.lr_scheduler_configs
        # Other kinds of schedules, of a subclass, cannot be moved to another initial rate.
        movable = all(isinstance(config.scheduler, LambdaLR) for config in schedules)
        changes = override_restored_hyperparameters(optimizer, self._configured, movable)
        for config in schedules:
            if not isinstance(config.scheduler, LambdaLR):
                continue
            before = config.scheduler.get_last_lr()
            rebuilt = rebuild_schedule(optimizer, config.scheduler)
            if (now := rebuilt.get_last_lr()) != before:
                config.scheduler = rebuilt
                changes.append(f"learning rate of this step from {before[0]:.3g} to {now[0]:.3g}")
        if changes:
            rank_zero_info(f"the config differs from the checkpoint: {', '.join(changes)}")

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Self:
        """Lightning's ``load_from_checkpoint``, for checkpoints of earlier versions too."""
        stored = _hyper_parameters(checkpoint_path, kwargs.get("weights_only"))
        renamed = {
            name: value
            for name, value in rename_hyper_parameters(stored).items()
            if name not in stored or stored[name] != value
        }
        return super().load_from_checkpoint(checkpoint_path, *args, **{**renamed, **kwargs})

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        rename_parameters(checkpoint["state_dict"], self.state_dict().keys())


def _hyper_parameters(source: Any, weights_only: bool | None) -> dict[str, Any]:
    """The hyper-parameters of a checkpoint; none for a file that is not local."""
    is_open = hasattr(source, "seek")
    if not is_open and not os.path.isfile(source):
        return {}
    content = torch.load(source, "meta", weights_only=weights_only, mmap=not is_open)
    if is_open:
        source.seek(0)
    return dict(content.get("hyper_parameters", {}))
