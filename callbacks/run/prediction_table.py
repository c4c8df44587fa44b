"""PredictionTable: what `lightning predict` leaves behind."""

from __future__ import annotations

import csv
from typing import Any

import lightning as L
from torch import Tensor

from callbacks.sweep import differing_settings
from callbacks.trainer_state import gathered, run_folder


class PredictionTable(L.Callback):
    """Writes a model's answers to ``predictions.csv`` in the run's folder.

    Of a ``Classifier`` one row per seed and example: the seed, the part (train or test), the input
    tokens, the right answer, the model's. Tokens stand by their labels where the data module's task
    has some. Where members differ in more than their seed (train fraction, sampling, exponent),
    those settings have columns of their own after the seed's.

    Of a ``TextClassifier`` one row per test text, in the order of the data: the text as it was
    read, its class, the predicted class, and the probability of each class.
    """

    def __init__(self) -> None:
        self._rows: list[list[Any]] = []
        self._settings: dict[str, list[Any]] = {}  # by name, of each member
        # Number, label and probabilities of each text; None where nothing is said of texts.
        self._texts: list[tuple[int, int, list[float]]] | None = None

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._rows.clear()
        self._texts = None
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
        if "probabilities" in outputs:
            of_texts = (outputs[name].tolist() for name in ("numbers", "labels", "probabilities"))
            rows = zip(*of_texts, strict=True)
            self._texts = self._texts or []  # a rank may have nothing but filling
            self._texts += [row for row in rows if row[0] >= 0]  # not the filling of a short batch
            return
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
        if self._rows:  # all ranks have all members
            member = ["seed", *self._settings]
            inputs = [f"input_{k}" for k in range(len(self._rows[0]) - len(member) - 3)]
            header = [*member, "part", *inputs, "target", "prediction"]
            right = sum(row[-1] == row[-2] for row in self._rows)
            _write(trainer, header, self._rows, right)
        elif self._texts is not None:  # of which a rank has its share
            found = sorted(row for rank in gathered(self._texts, trainer) for row in rank)
            if trainer.is_global_zero:
                _write(trainer, *_text_table(trainer.datamodule, found))  # type: ignore[attr-defined]
        self._rows.clear()
        self._texts = None


def _text_table(
    data: Any, found: list[tuple[int, int, list[float]]]
) -> tuple[list[str], list[list[Any]], int]:
    """Header and rows of the table of test texts, and how many of them are classified right."""
    texts, classes = data.read().test.texts, data.class_names
    header = ["text", "label", "prediction", *(f"probability_{name}" for name in classes)]
    rows, right = [], 0
    for number, label, probabilities in found:
        predicted = max(range(len(classes)), key=probabilities.__getitem__)
        right += predicted == label
        shares = [f"{share:.6g}" for share in probabilities]
        rows.append([texts[number], classes[label], classes[predicted], *shares])
    return header, rows, right


def _write(trainer: L.Trainer, header: list[str], rows: list[list[Any]], right: int) -> None:
    """Write the table where the run has a folder, and say how many answers are right."""
    folder = run_folder(trainer)
    if folder is None or not trainer.is_global_zero:
        return
    path = folder / "predictions.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    print(f"{right:,} of {len(rows):,} answers are right; written to {path}")
