"""PredictionTable: what `lightning predict` leaves behind."""

from __future__ import annotations

import csv
from typing import Any

import lightning as L
from torch import Tensor

from callbacks.member_settings import differing_settings
from callbacks.run_folder import run_folder


class PredictionTable(L.Callback):
    """Writes every seed's answers to ``predictions.csv`` in the run's folder.

    One row per seed and example: the seed, the part (train or test), the input tokens, the right
    answer, the model's. Tokens stand by their labels where the data module's task has some. Where
    members differ in more than their seed (train fraction, sampling, exponent), those settings have
    columns of their own after the seed's.
    """

    def __init__(self) -> None:
        self._rows: list[list[Any]] = []
        self._settings: dict[str, list[Any]] = {}  # by name, of each member

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._rows.clear()
        self._settings = differing_settings(trainer, pl_module)

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        task = getattr(trainer.datamodule, "task", None)  # type: ignore[attr-defined]
        labels = task.token_labels if task is not None else None
        seeds = getattr(pl_module, "seeds", [0])

        def text(token: int) -> Any:
            return labels[token] if labels is not None else token

        names = ("inputs", "targets", "predictions", "is_test")
        columns: list[Tensor] = [outputs[name] for name in names]
        inputs, targets, predictions, is_test = (column.tolist() for column in columns)
        for s, seed in enumerate(seeds):
            member = [seed, *(values[s] for values in self._settings.values())]
            for tokens, target, answer, test in zip(
                inputs[s], targets[s], predictions[s], is_test[s], strict=True
            ):
                if target >= 0:  # not the filling of a shorter member
                    part = "test" if test else "train"
                    words = [*map(text, tokens), text(target), text(answer)]
                    self._rows.append([*member, part, *words])

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        folder = run_folder(trainer)
        if not self._rows or folder is None or not trainer.is_global_zero:
            return
        path = folder / "predictions.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        member = ["seed", *self._settings]
        inputs = [f"input_{k}" for k in range(len(self._rows[0]) - len(member) - 3)]
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*member, "part", *inputs, "target", "prediction"])
            writer.writerows(self._rows)
        right = sum(row[-1] == row[-2] for row in self._rows)
        print(f"{right:,} of {len(self._rows):,} answers are right; written to {path}")
        self._rows.clear()
