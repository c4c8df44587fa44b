"""Generalization: when a model has learned its training set, and when the test set as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch import Tensor

from callbacks.probes.checks import datamodule_of, incompatible
from callbacks.probes.probe import Probe
from callbacks.probes.titles import model_title
from callbacks.trainer_state import is_fitting
from glassbox.metrics import first_sustained_epoch
from glassbox.protocols import HasScores, HasTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure


ACCURACIES = ("train/accuracy", "test/accuracy")


class Generalization(Probe[HasScores]):
    """First epoch of sustained accuracy on training and test set, and the delay between them.

    The paper's measure of grokking (Figure 3(c)): the first of ``patience`` consecutive epochs with
    an accuracy above ``threshold``. Epochs count from 0. A seed that never reaches it has no value
    (null in ``results.json``) and counts as +∞ in the medians of the closing table. Accuracies are
    read at every validation; with ``check_val_every_n_epoch`` above 1, ``patience`` counts
    validations.

    Args:
        threshold: Accuracy to exceed (0.9 in the paper).
        patience: Consecutive epochs for which it must be exceeded (20 in the authors' code).

    Raises:
        ValueError: A number is out of range.
    """

    name = "generalization"

    def __init__(self, threshold: float = 0.9, patience: int = 20) -> None:
        super().__init__(every_n_epochs=1)
        if not 0.0 < threshold < 1.0:
            raise ValueError(f"Generalization: threshold is {threshold}; it must be from 0 to 1")
        if patience < 1:
            raise ValueError(f"Generalization: patience is {patience}; it must be at least 1")
        self.threshold = threshold
        self.patience = patience
        self.epochs: list[int] = []
        # (2, S, capacity for epochs): train, test. Grown in large steps: a small tensor kept for
        # each epoch would keep the memory around it from being reused, gigabytes in a long run.
        self._accuracy = torch.zeros(2, 0, 0)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        # A module without summary_metrics has Classifier's scores.
        scores = getattr(pl_module, "summary_metrics", ACCURACIES)
        if not set(ACCURACIES) <= set(scores):
            needs = "a module with train/accuracy and test/accuracy at every validation"
            raise incompatible(self, needs, pl_module, "a Classifier")

    # ---- the history ---------------------------------------------------------------------------

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 0:  # not a resumed run
            self.epochs.clear()

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking or not is_fitting(trainer):
            return
        scores = pl_module.scores()  # type: ignore[operator]
        current = torch.stack([scores[name] for name in ACCURACIES]).cpu()  # (2, S)
        if not self.epochs or len(self.epochs) == self._accuracy.shape[-1]:
            more = torch.full((*current.shape, max(256, len(self.epochs))), torch.nan)
            self._accuracy = torch.cat([self._accuracy, more], dim=-1) if self.epochs else more
        self._accuracy[..., len(self.epochs)] = current
        self.epochs.append(trainer.current_epoch)

    def accuracy(self) -> Tensor:
        """Accuracy so far, (2, S, epochs): training set, test set."""
        return self._accuracy[..., : len(self.epochs)]

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": list(self.epochs), "accuracy": self.accuracy().clone()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs = list(state_dict["epochs"])
        self._accuracy = state_dict["accuracy"].clone()

    # ---- measured and drawn once, at the end ---------------------------------------------------

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Nothing is drawn before the end."""

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.epochs:
            self._measure(trainer, pl_module)
            self._draw(trainer, pl_module)

    def measure(self, trainer: L.Trainer, module: HasScores) -> dict[str, Tensor]:
        accuracy = self.accuracy()
        first = first_sustained_epoch(accuracy, self.threshold, self.patience)  # (2, S)
        # Indices into the history, as epochs; nan where there is none.
        epochs = torch.tensor(self.epochs, dtype=first.dtype)[first.nan_to_num(0).long()]
        train, test = torch.where(first.isnan(), torch.nan, epochs)
        self.arrays = {
            "epochs": torch.tensor(self.epochs).expand(accuracy.shape[1], -1),
            "train_accuracy": accuracy[0],
            "test_accuracy": accuracy[1],
        }
        self.summary_metrics = ["generalization/train_epoch", "generalization/test_epoch"]
        return {"train_epoch": train, "test_epoch": test, "delay": test - train}

    def figures(self, trainer: L.Trainer, module: HasScores) -> dict[str, Figure]:
        from glassbox.plots import accuracy_curves, generalization_scatter

        train, test = self.accuracy().numpy()  # (S, epochs)
        train_epoch, test_epoch = (
            torch.as_tensor(self.results[f"generalization/{part}_epoch"]).numpy()
            for part in ("train", "test")
        )
        data = datamodule_of(trainer)
        title = model_title(module, data.task if isinstance(data, HasTask) else None)
        return {
            "accuracy": accuracy_curves(
                torch.tensor(self.epochs).numpy(),
                train,
                test,
                title=title,
                train_epoch=train_epoch,
                test_epoch=test_epoch,
                threshold=self.threshold,
                log_epochs=self.epochs[-1] > 0,
            ),
            "generalization": generalization_scatter(train_epoch, test_epoch, title=title),
        }

    def _prefix(self) -> str:
        return self.name
