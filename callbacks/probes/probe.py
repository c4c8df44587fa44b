"""Probe: the base of every callback that measures a representation while the model trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from callbacks.probes.figure_output import save_animation, show_figure
from callbacks.trainer_state import is_fitting, is_last_validation, run_folder, validation_number
from glassbox.metrics.quantiles import quartiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Results = Mapping[str, Tensor | list[str]]
# What a probe asks of a LightningModule: a protocol of glassbox.protocols.
ModuleT = TypeVar("ModuleT")


class Probe(L.Callback, Generic[ModuleT]):
    """Base class: measures at validation, at a stride of its own, and draws when training ends.

    A subclass implements ``measure`` and ``figures``; this class decides when, logs and saves.
    Scalars go to every logger as ``val/<name>/<key>`` (median over seeds, with ``_q25`` and
    ``_q75`` if there are several), every seed's last values into ``results.json``, and figures to
    TensorBoard and as PNG into ``figures/`` of the run's folder. Nothing is measured during
    Lightning's sanity check.

    Args:
        every_n_epochs: Measure every n epochs, and after the last. Where validation is scheduled by
            batches (``check_val_every_n_epoch: null``), n counts validations.
        figures_every_n_epochs: Draw every n epochs, and after the last; null draws after the last
            only.

    Attributes:
        name: Second part of the metrics' names.
        not_logged: Keys that only ``results.json`` gets, to keep the loggers readable.
        results: Last measured values by full name: a tensor (S,), or a list of S strings.
        arrays: Data for figures over several runs, by name, (S, ...) each; `lightning reproduce`
            stores it beside the results.
        summary_metrics: Full names of the results in the run's closing table, such as
            ``["val/weights/center_distance"]``.

    Raises:
        ValueError: A stride is below 1.
    """

    name: ClassVar[str]
    not_logged: ClassVar[frozenset[str]] = frozenset()

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
        self._measured_at: int | None = None  # optimizer steps
        self._drawn_at: int | None = None

    # ---- implemented by a subclass -------------------------------------------------------------

    def measure(self, trainer: L.Trainer, module: ModuleT) -> Results:
        """The values by key: tensors (S,), or lists of S strings, which are not logged."""
        raise NotImplementedError(f"{type(self).__name__} must implement measure")

    def figures(self, trainer: L.Trainer, module: ModuleT) -> Mapping[str, Figure]:
        """Figures by file name without ending. Called on rank 0 only, after ``measure``."""
        return {}

    def animations(
        self, trainer: L.Trainer, module: ModuleT
    ) -> Mapping[str, Sequence[NDArray[np.uint8]]]:
        """Frames (height, width, 3) by file name, of the completed training.

        They become GIFs in ``figures/``, not in TensorBoard. Called on rank 0 only.
        """
        return {}

    # ---- the schedule --------------------------------------------------------------------------

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._measured_at = self._drawn_at = None
        others = [other for other in getattr(trainer, "callbacks", []) if other is not self]
        if any(isinstance(other, Probe) and other.name == self.name for other in others):
            raise ValueError(
                f"trainer.callbacks has two probes that log as val/{self.name}/...; remove one "
                f"{type(self).__name__}"
            )

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking and self._is_due(trainer, self.every_n_epochs):
            self._log(trainer, pl_module, self._measure(trainer, pl_module))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._draws_now(trainer):
            self._measure_if_outdated(trainer, pl_module)
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._measure_if_outdated(trainer, pl_module)
        if self._drawn_at != trainer.global_step:
            self._draw(trainer, pl_module)
        if trainer.is_global_zero and run_folder(trainer) is not None:
            for name, frames in self.animations(trainer, cast(Any, pl_module)).items():
                save_animation(trainer, name, frames)

    def _is_due(self, trainer: L.Trainer, stride: int) -> bool:
        on_stride = validation_number(trainer) % stride == 0
        return on_stride or not is_fitting(trainer) or is_last_validation(trainer)

    def _draws_now(self, trainer: L.Trainer) -> bool:
        stride = self.figures_every_n_epochs
        on_stride = stride is not None and validation_number(trainer) % stride == 0
        return not trainer.sanity_checking and (on_stride or not is_fitting(trainer))

    def _measure_if_outdated(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self._measured_at != trainer.global_step:
            self._measure(trainer, module)

    def _measure(
        self, trainer: L.Trainer, module: L.LightningModule
    ) -> dict[str, Tensor | list[str]]:
        with torch.no_grad():
            values = self.measure(trainer, cast(Any, module))
        self.results = {f"{self._prefix()}/{key}": value for key, value in values.items()}
        self._measured_at = trainer.global_step
        return self.results

    def _log(self, trainer: L.Trainer, module: L.LightningModule, results: Results) -> None:
        for name, value in results.items():
            if isinstance(value, Tensor) and name.rpartition("/")[2] not in self.not_logged:
                module.log_dict(quartiles(name, value), batch_size=1)

    def _prefix(self) -> str:
        return f"val/{self.name}"

    def _draw(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._drawn_at = trainer.global_step
        if not trainer.is_global_zero or not trainer.loggers:  # without a logger nobody sees it
            return
        for name, figure in self.figures(trainer, cast(Any, module)).items():
            show_figure(trainer, name, figure)
