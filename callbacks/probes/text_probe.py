"""TextProbe: the base of probes that go through a data set of texts, batch by batch."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from callbacks.probes.checks import incompatible
from callbacks.probes.probe import Probe, Results
from callbacks.trainer_state import is_fitting
from glassbox.protocols import HasRepresentations

Batch = dict[str, Tensor]
IGNORED = -100  # the label of a text that does not count


class TextProbe(Probe[HasRepresentations]):
    """Base class: measures on every validation, and on the test set with the run's final weights.

    As in torchmetrics, a subclass implements ``reset`` (a pass over a data set begins), ``update``
    (a batch and the model's ``representations`` of it) and ``compute`` (the values, summed over
    ranks). The representations are those that the model's own evaluation step returned, so a probe
    costs only what it computes itself.

    The test set is measured by ``lightning test``, and by ``ModelSelection`` at the end of
    ``lightning fit``. Names are ``val/<name>/<key>`` and ``test/<name>/<key>``. Figures are drawn
    at the end of ``fit``, ``validate`` and ``test``.

    Args:
        every_n_epochs: Measure on the validation set every n epochs.

    Attributes:
        stage: Of the current pass: 'val' or 'test'.
    """

    def __init__(self, every_n_epochs: int = 1) -> None:
        super().__init__(every_n_epochs=every_n_epochs)
        self.stage = "val"
        self._in_pass = False

    # ---- implemented by a subclass -------------------------------------------------------------

    def reset(self, trainer: L.Trainer, module: HasRepresentations) -> None:
        """Begin a pass over a data set."""

    def update(
        self, trainer: L.Trainer, module: HasRepresentations, batch: Batch, activations: Batch
    ) -> None:
        """Add a batch; called without gradients.

        Args:
            trainer: The run's.
            module: The text classifier, in evaluation mode.
            batch: Of the data module.
            activations: The module's ``representations`` of the batch.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement update")

    def compute(self, trainer: L.Trainer, module: HasRepresentations) -> Results:
        """The values of the pass by key, (1,) each, over all ranks."""
        raise NotImplementedError(f"{type(self).__name__} must implement compute")

    # ---- passes --------------------------------------------------------------------------------

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self._in_pass = False
        if not isinstance(pl_module, HasRepresentations):
            raise incompatible(
                self, "a module with representations of texts", pl_module, "a TextClassifier"
            )

    def start_pass(self, trainer: L.Trainer, module: Any, stage: str) -> None:
        """Begin a pass over the validation set ('val') or the test set ('test')."""
        self.stage, self._in_pass = stage, True
        self.reset(trainer, module)

    def take(self, trainer: L.Trainer, module: Any, batch: Batch, activations: Any) -> None:
        """Add a batch to the pass, if there is one, in the precision of the run."""
        if self._in_pass:
            with torch.no_grad(), trainer.precision_plugin.val_step_context():
                self.update(trainer, module, batch, activations)

    def end_pass(self, trainer: L.Trainer, module: Any) -> dict[str, Tensor | list[str]]:
        """End the pass; its values by full name."""
        self._in_pass = False
        with torch.no_grad():
            values = self.compute(trainer, module)
        results = {f"{self.stage}/{self.name}/{key}": value for key, value in values.items()}
        self.results.update(results)
        self._measured_at = trainer.global_step
        return results

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
        if self._in_pass:
            self._log(trainer, pl_module, self.end_pass(trainer, pl_module))

    def on_test_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.start_pass(trainer, pl_module, "test")

    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking and not is_fitting(trainer):  # `lightning validate`
            self._draw(trainer, pl_module)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._draw(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Nothing: ModelSelection has not restored the best weights yet."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        measured = self._measured_at is not None  # in this run
        if measured and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            pl_module.eval()
            with torch.no_grad():
                self._draw(trainer, pl_module)
