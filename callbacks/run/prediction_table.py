"""PredictionTable: the output of `lightning predict` as predictions.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_info

from callbacks.sweep import differing_settings
from callbacks.trainer_state import gathered, run_folder

_OF_CLASSIFIER = ("inputs", "targets", "predictions", "is_test")
_OF_TEXTS = ("numbers", "labels", "probabilities")


class PredictionTable(L.Callback):
    """Write a model's predictions to ``predictions.csv`` in the run's folder.

    For a ``Classifier`` one row per seed and example: seed, part (train or test), input tokens,
    target and prediction. Tokens are written as labels if the data module's task has labels.
    Settings other than the seed in which members differ (train fraction, sampling, exponent) have
    columns after the seed's.

    For a ``TextClassifier`` one row per test text, in the order of the data: the text as it was
    read, its class, the predicted class and the probability of each class.

    For other modules no table is written.
    """

    def __init__(self) -> None:
        self._rows: list[list[Any]] = []
        self._settings: dict[str, list[Any]] = {}  # by name, of each member
        # Number, label and probabilities of each text; None unless the module classifies texts.
        self._texts: list[tuple[int, int, list[float]]] | None = None

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._rows.clear()
        self._texts = None
        self._settings = differing_settings(trainer, pl_module)

    def on_predict_batch_end(
        self, trainer: Any, pl_module: L.LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        names = set(outputs) if isinstance(outputs, Mapping) else set()
        if names.issuperset(_OF_TEXTS):
            rows = zip(*(outputs[name].tolist() for name in _OF_TEXTS), strict=True)
            self._texts = self._texts or []  # a rank may have nothing but padding
            self._texts += [row for row in rows if row[0] >= 0]  # without padding
        elif names.issuperset(_OF_CLASSIFIER):
            task = getattr(trainer.datamodule, "task", None)
            labels = task and task.token_labels
            self._add_examples(outputs, getattr(pl_module, "seeds", [0]), labels)

    def _add_examples(
        self, outputs: Mapping[str, Any], seeds: Sequence[int], labels: Sequence[str] | None
    ) -> None:
        columns = [outputs[name].tolist() for name in _OF_CLASSIFIER]  # (S, B, ...) each
        for s, seed in enumerate(seeds):
            member = [seed, *(values[s] for values in self._settings.values())]
            for inputs, target, prediction, is_test in zip(*(c[s] for c in columns), strict=True):
                if target < 0:  # padding of a member with fewer examples
                    continue
                tokens = [*inputs, target, prediction]
                cells = tokens if labels is None else [labels[token] for token in tokens]
                self._rows.append([*member, "test" if is_test else "train", *cells])

    def on_predict_end(self, trainer: Any, pl_module: L.LightningModule) -> None:
        if self._rows:  # all ranks have all members
            member = ["seed", *self._settings]
            inputs = [f"input_{k}" for k in range(len(self._rows[0]) - len(member) - 3)]
            header = [*member, "part", *inputs, "target", "prediction"]
            correct = sum(row[-1] == row[-2] for row in self._rows)
            _write(trainer, header, self._rows, correct)
        elif self._texts is not None:  # each rank has a shard
            texts = sorted(text for shard in gathered(self._texts, trainer) for text in shard)
            _write(trainer, *_text_table(trainer.datamodule, texts))
        else:
            rank_zero_info(
                "no predictions.csv: predict_step is not that of a Classifier or TextClassifier"
            )
        self._rows.clear()
        self._texts = None


def _text_table(data: Any, texts: list[Any]) -> tuple[list[str], list[list[Any]], int]:
    """Header and rows of the table of test texts, and the number of correct predictions."""
    words, classes = data.read().test.texts, data.class_names
    header = ["text", "label", "prediction", *(f"probability_{name}" for name in classes)]
    rows, correct = [], 0
    for number, label, probabilities in texts:
        predicted = max(range(len(classes)), key=probabilities.__getitem__)
        correct += predicted == label
        cells = [f"{probability:.6g}" for probability in probabilities]
        rows.append([words[number], classes[label], classes[predicted], *cells])
    return header, rows, correct


def _write(trainer: L.Trainer, header: list[str], rows: list[list[Any]], correct: int) -> None:
    """Write the table into the run's folder, if there is one, and print the accuracy."""
    folder = run_folder(trainer)
    if folder is None or not trainer.is_global_zero:
        return
    path = folder / "predictions.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    print(f"accuracy {correct / len(rows):.1%} ({correct:,}/{len(rows):,}); predictions: {path}")
