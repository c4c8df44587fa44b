"""Generalization: when a model knows its training set, when it understands the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch import Tensor

from callbacks.probes.embedding_geometry import describe
from callbacks.probes.probe import Probe
from callbacks.trainer_state import is_fitting
from glassbox.metrics import first_sustained_epoch

if TYPE_CHECKING:
    from matplotlib.figure import Figure


ACCURACIES = ("train/accuracy", "test/accuracy")


class Generalization(Probe):
    """First epoch of sustained accuracy on training and test set, and the delay between them.

    The paper's measure of grokking (Figure 3(c)): the first of ``patience`` consecutive epochs with
    an accuracy above ``threshold``. Epochs count from 0. A seed that never gets there has no value
    (null in ``results.json``) and counts as later than any other in the medians of the closing
    table, which also counts such seeds. It reads the scores of every validation, so that with
    ``check_val_every_n_epoch`` above 1 ``patience`` counts validations.

    Args:
        threshold: Accuracy to exceed (0.9 in the paper).
        patience: Consecutive epochs for which it must be exceeded (20 in the authors' code).
    """

    name = "generalization"

    def __init__(self, threshold: float = 0.9, patience: int = 20) -> None:
        super().__init__(every_n_epochs=1)
        if not 0.0 < threshold < 1.0 or patience < 1:
            raise ValueError(
                f"Generalization: threshold is {threshold} and patience {patience}; the threshold "
                f"must lie between 0 and 1, the patience must be at least 1"
            )
        self.threshold = threshold
        self.patience = patience
        self.epochs: list[int] = []
        # (2, S, room for epochs): train, test. Grown in large steps: a small tensor kept of every
        # epoch would pin the memory around it, gigabytes over thousands of epochs.
        self._accuracy = torch.zeros(2, 0, 0)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        # A module that does not say what it scores is taken for one like Classifier.
        scores = getattr(pl_module, "summary_metrics", ACCURACIES)
        if not set(ACCURACIES) <= set(scores):
            raise ValueError(
                f"Generalization needs the accuracy on training and test set at every validation, "
                f"which a {type(pl_module).__name__} does not measure; remove the probe from "
                f"trainer.callbacks, or use a Classifier"
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 0:  # a new training, not one that is resumed
            self.epochs.clear()

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking or not is_fitting(trainer):
            return
        scores = pl_module.scores()  # type: ignore[operator]
        now = torch.stack([scores[name] for name in ACCURACIES]).cpu()  # (2, S)
        if not self.epochs or len(self.epochs) == self._accuracy.shape[-1]:
            room = torch.full((*now.shape, max(256, len(self.epochs))), torch.nan)
            self._accuracy = torch.cat([self._accuracy, room], dim=-1) if self.epochs else room
        self._accuracy[..., len(self.epochs)] = now
        self.epochs.append(trainer.current_epoch)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Nothing is drawn before the end."""

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.epochs:
            self._measure(trainer, pl_module)
            self._draw(trainer, pl_module)

    def accuracy(self) -> Tensor:
        """Accuracy so far, (2, S, epochs): training set, test set."""
        return self._accuracy[..., : len(self.epochs)]

    def measure(self, trainer: L.Trainer, module: L.LightningModule) -> Mapping[str, Tensor]:
        first = first_sustained_epoch(self.accuracy(), self.threshold, self.patience)  # (2, S)
        # Positions in the history, as epochs; nan where there is none.
        epochs = torch.tensor(self.epochs, dtype=first.dtype)[first.nan_to_num(0).long()]
        train, test = torch.where(first.isnan(), torch.nan, epochs)
        histories = self.accuracy()
        self.arrays = {
            "epochs": torch.tensor(self.epochs).expand(histories.shape[1], -1),
            "train_accuracy": histories[0],
            "test_accuracy": histories[1],
        }
        self.summary_metrics = ["generalization/train_epoch", "generalization/test_epoch"]
        return {"train_epoch": train, "test_epoch": test, "delay": test - train}

    def figures(self, trainer: L.Trainer, module: L.LightningModule) -> Mapping[str, Figure]:
        from glassbox.plots import accuracy_curves, generalization_scatter

        train, test = self.accuracy().numpy()  # (S, epochs)
        train_epoch, test_epoch = (
            self.results[name].numpy()  # type: ignore[union-attr]
            for name in ("generalization/train_epoch", "generalization/test_epoch")
        )
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        title = describe(module, getattr(datamodule, "task", None))
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

    def state_dict(self) -> dict[str, Any]:
        """The history, so that a resumed run knows it."""
        return {"epochs": list(self.epochs), "accuracy": self.accuracy().clone()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs = list(state_dict["epochs"])
        self._accuracy = state_dict["accuracy"].clone()

    def _prefix(self) -> str:
        return self.name
