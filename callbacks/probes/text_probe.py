"""TextProbe: the base of probes that go through a data set of texts, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor

from callbacks.probes.probe import Probe
from callbacks.trainer_state import is_fitting
from glassbox.metrics.quantiles import quartiles

Batch = dict[str, Tensor]


class TextProbe(Probe):
    """Measures on every validation, and on the test set when the run's weights are chosen.

    A subclass begins a pass (``begin``), takes every batch with what the model's step returned for
    it (``update``), and says at the end what came out (``finish``), summed over the ranks. The
    model's own pass over the data is shared, so that a probe costs only what it computes itself.

    On the validation set it measures at its stride; on the test set whenever that is gone through:
    by ``lightning test``, or at the end of ``lightning fit`` by ``ModelSelection``. Names are
    ``val/<name>/<key>`` and ``test/<name>/<key>``. Figures are drawn when the run is closed.

    Args:
        every_n_epochs: Measure on the validation set after every so many epochs.
    """

    def __init__(self, every_n_epochs: int = 1) -> None:
        super().__init__(every_n_epochs=every_n_epochs)
        self.stage = "val"
        self._under_way = False

    # ---- to be written by a probe --------------------------------------------------------------

    def begin(self, trainer: L.Trainer, module: Any) -> None:
        """Start a pass over a data set; ``self.stage`` is 'val' or 'test'."""

    def update(self, trainer: L.Trainer, module: Any, batch: Batch, found: Batch) -> None:
        """Take a batch and the model's ``representations`` of it; without gradients."""
        raise NotImplementedError(f"{type(self).__name__} must say what it does with a batch")

    def finish(self, trainer: L.Trainer, module: Any) -> Mapping[str, Tensor | list[str]]:
        """The values of the pass by key, (1,) each, over all ranks."""
        raise NotImplementedError(f"{type(self).__name__} must say what it measures")

    # ---- the passes ----------------------------------------------------------------------------

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self._under_way = False
        if not hasattr(pl_module, "representations"):
            raise ValueError(
                f"{type(self).__name__} reads the words' representations, which a "
                f"{type(pl_module).__name__} does not give; remove the probe from "
                f"trainer.callbacks, or use a TextClassifier"
            )

    def start_pass(self, trainer: L.Trainer, module: Any, stage: str) -> None:
        """Begin a pass over the validation or the test set."""
        self.stage, self._under_way = stage, True
        self.begin(trainer, module)

    def take(self, trainer: L.Trainer, module: Any, batch: Batch, found: Any) -> None:
        """Take a batch of the pass under way, in the precision of the run."""
        if self._under_way:
            with torch.no_grad(), trainer.precision_plugin.val_step_context():
                self.update(trainer, module, batch, found)

    def end_pass(self, trainer: L.Trainer, module: Any) -> dict[str, Tensor | list[str]]:
        """End the pass; its values by full name."""
        self._under_way = False
        with torch.no_grad():
            values = self.finish(trainer, module)
        named = {f"{self.stage}/{self.name}/{key}": value for key, value in values.items()}
        self.results.update(named)
        self._measured_at = trainer.global_step
        return named

    # ---- Lightning's hooks ---------------------------------------------------------------------

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking and self._is_due(trainer, self.every_n_epochs):
            self.start_pass(trainer, pl_module, "val")

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.take(trainer, pl_module, batch, outputs)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._log_pass(trainer, pl_module)

    def on_test_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.start_pass(trainer, pl_module, "test")

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.take(trainer, pl_module, batch, outputs)

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._log_pass(trainer, pl_module)

    def _log_pass(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if not self._under_way:
            return
        for name, value in self.end_pass(trainer, module).items():
            if isinstance(value, Tensor) and name.rpartition("/")[2] not in self.not_logged:
                module.log_dict(quartiles(name, value), batch_size=1)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking and not is_fitting(trainer):  # `lightning validate`
            self._draw(trainer, pl_module)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._draw(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Nothing yet: the weights that count may not be in place."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        measured = self._measured_at is not None  # in this run, be it with an empty result
        if measured and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            pl_module.eval()
            with torch.no_grad():
                self._draw(trainer, pl_module)
