"""Probe: the base of every callback that measures a representation while the model trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from callbacks.probes.figure_output import save_animation, show_figure
from callbacks.trainer_state import (
    is_fitting,
    is_last_validation,
    run_folder,
    validation_number,
)
from glassbox.metrics.quantiles import quartiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Probe(L.Callback):
    """Measures at validation, at its own stride, and draws when training ends.

    A probe says what to measure (``measure``) and what to draw (``figures``); when to do so,
    logging and files are this class's. Scalars go to every logger as ``val/<name>/<key>`` (median
    over seeds, with ``_q25`` and ``_q75`` where there are several), every seed's last values into
    ``results.json``, figures to TensorBoard and as PNG into ``figures/`` of the run's folder. The
    run's closing table shows what a probe names in ``self.summary_metrics``, and nothing else of it.
    Nothing is measured during Lightning's sanity check.

    Args:
        every_n_epochs: Measure after every so many epochs, and after the last. In a run whose
            validation is counted in steps (``check_val_every_n_epoch: null``) every epoch that is
            spoken of here is a validation.
        figures_every_n_epochs: Draw after every so many epochs, and after the last; null draws
            after the last only.

    Attributes:
        name: Second part of the metrics' names.
        results: Last measured values by full name: a tensor (S,), or a list with one entry a seed.
        arrays: What figures over several runs need, by name (S, ...); `lightning reproduce` keeps
            it beside the results.
        summary_metrics: Full names of the results that belong into a run's closing table, such as
            ``["val/weights/center_distance"]``; empty, so that none does, unless a probe sets it.
    """

    name: ClassVar[str]
    # Keys that only results.json gets, to keep the loggers readable.
    not_logged: ClassVar[frozenset[str]] = frozenset()
    # Whether the data module must have a task.
    needs_task: ClassVar[bool] = False

    def __init__(
        self, every_n_epochs: int = 100, figures_every_n_epochs: int | None = None
    ) -> None:
        for option, value in (
            ("every_n_epochs", every_n_epochs),
            ("figures_every_n_epochs", figures_every_n_epochs),
        ):
            if value is not None and value < 1:
                name = type(self).__name__
                raise ValueError(f"{name}: {option} is {value}; it must be at least 1")
        self.every_n_epochs = every_n_epochs
        self.figures_every_n_epochs = figures_every_n_epochs
        self.results: dict[str, Tensor | list[str]] = {}
        self.arrays: dict[str, Tensor] = {}
        self.summary_metrics: list[str] = []
        self._measured_at: int | None = None
        self._drawn_at: int | None = None

    # ---- to be written by a probe --------------------------------------------------------------

    def measure(
        self, trainer: L.Trainer, module: L.LightningModule
    ) -> Mapping[str, Tensor | list[str]]:
        """The probe's values by key, each (S,), or a list of S strings (not logged)."""
        raise NotImplementedError(f"{type(self).__name__} must say what it measures")

    def figures(self, trainer: L.Trainer, module: L.LightningModule) -> Mapping[str, Figure]:
        """Figures by file name (without ending). Called on the first rank only."""
        return {}

    def animations(
        self, trainer: L.Trainer, module: L.LightningModule
    ) -> Mapping[str, Sequence[NDArray[np.uint8]]]:
        """Pictures (height, width, 3) by file name, of the training that has ended.

        They become GIFs in ``figures/``, not in TensorBoard. Called on the first rank only.
        """
        return {}

    # ---- the schedule --------------------------------------------------------------------------

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._measured_at = self._drawn_at = None
        others = [other for other in getattr(trainer, "callbacks", []) if other is not self]
        if any(isinstance(other, Probe) and other.name == self.name for other in others):
            raise ValueError(
                f"trainer.callbacks holds two probes that log as val/{self.name}/..., of which the "
                f"second would replace the first; remove one {type(self).__name__}"
            )
        if self.needs_task:
            task_of(trainer, self)  # say so now, rather than after an hour of training

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking or not self._is_due(trainer, self.every_n_epochs):
            return
        for name, value in self._measure(trainer, pl_module).items():
            if isinstance(value, Tensor) and name.rpartition("/")[2] not in self.not_logged:
                pl_module.log_dict(quartiles(name, value), batch_size=1)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        stride, epoch = self.figures_every_n_epochs, validation_number(trainer)
        in_between = stride is not None and epoch % stride == 0
        alone = not is_fitting(trainer)  # `lightning validate`
        if not trainer.sanity_checking and (in_between or alone):
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._measured_at != trainer.global_step:
            self._measure(trainer, pl_module)
        if self._drawn_at != trainer.global_step:
            self._draw(trainer, pl_module)
        if trainer.is_global_zero and run_folder(trainer) is not None:  # else nowhere to keep them
            for name, pictures in self.animations(trainer, pl_module).items():
                save_animation(trainer, name, pictures)

    def _is_due(self, trainer: L.Trainer, stride: int) -> bool:
        epoch = validation_number(trainer)
        return not is_fitting(trainer) or epoch % stride == 0 or is_last_validation(trainer)

    def _measure(
        self, trainer: L.Trainer, module: L.LightningModule
    ) -> dict[str, Tensor | list[str]]:
        with torch.no_grad():
            values = self.measure(trainer, module)
        self.results = {f"{self._prefix()}/{key}": value for key, value in values.items()}
        self._measured_at = trainer.global_step
        return self.results

    def _prefix(self) -> str:
        return f"val/{self.name}"

    def _draw(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._drawn_at = trainer.global_step
        if not trainer.is_global_zero or not trainer.loggers:  # or nowhere to show it
            return
        for name, figure in self.figures(trainer, module).items():
            show_figure(trainer, name, figure)


def task_of(trainer: L.Trainer, probe: Probe) -> object:
    """The task that is trained on, for probes that need its structure.

    Raises:
        ValueError: The data module has no task.
    """
    task = getattr(getattr(trainer, "datamodule", None), "task", None)
    if task is None:
        raise ValueError(
            f"{type(probe).__name__} needs a data module with a task, such as AlgorithmicData; "
            f"remove the probe from trainer.callbacks, or use one"
        )
    return task
