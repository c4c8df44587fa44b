"""PredictionTable of texts: every test text once and in order, on any number of ranks."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from callbacks import ModelSelection, PredictionTable
from tests.helpers.planted_words import planted_data, read_part, small_classifier, text_trainer

NAMES = ("negative", "positive")
HEADER = ["text", "label", "prediction", "probability_negative", "probability_positive"]


def read(folder: Path) -> list[list[str]]:
    with (folder / "run" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def predict(model: Any, data: Any, folder: Path, *callbacks: Any, **options: Any) -> None:
    logger = CSVLogger(folder, name="", version="run")
    trainer = text_trainer(*callbacks, PredictionTable(), logger=logger, **options)
    trainer.predict(model, datamodule=data, return_predictions=False)


def copy_of(trained, data: Any) -> Any:
    model = small_classifier(data)
    model.load_state_dict(trained.model.state_dict())
    return model


@pytest.mark.parametrize("options", [{}, {"batch_size": 7, "pad_to": "max_length"}])
def test_every_text_has_a_row_with_the_probabilities_of_it_alone(
    trained, tmp_path, capsys, options
):
    data = planted_data(trained.folder, **options)
    predict(copy_of(trained, data), data, tmp_path)
    header, *rows = read(tmp_path)
    assert header == HEADER
    expected = read_part(trained.folder, "test")
    assert [(row[0], row[1]) for row in rows] == [(t, NAMES[label]) for t, label in expected]
    correct = 0
    for text, label, prediction, *probabilities in rows:
        with torch.no_grad():
            logits = trained.model.classify(trained.data.encode([text]))[0]
        assert list(map(float, probabilities)) == pytest.approx(logits.softmax(-1), abs=1e-4)
        assert prediction == NAMES[logits.argmax()]
        correct += prediction == label
    assert f"({correct}/73)" in capsys.readouterr().out


def test_unusual_characters_and_commas_are_kept(trained, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for part in ("train", "dev", "test"):
        (folder / f"{part}.tsv").write_text((trained.folder / f"{part}.tsv").read_text())
    text = 'so "warm", café\u2028; dull'
    with (folder / "test.tsv").open("a", encoding="utf-8") as file:
        file.write(f"{text}\t1\n")
    data = planted_data(folder)
    predict(copy_of(trained, data), data, tmp_path)
    assert read(tmp_path)[-1][:2] == [text, "positive"]


def test_predictions_are_those_of_the_best_weights_if_a_run_kept_them(trained, tmp_path):
    data = planted_data(trained.folder)
    selection = ModelSelection()
    selection.best = {  # also under the names of an old checkpoint
        name.replace(".fc_in.", ".feedforward1."): value.clone()
        for name, value in trained.model.state_dict().items()
    }
    assert any("feedforward1" in name for name in selection.best)
    selection.score = 1.0
    predict(small_classifier(data, seed=3), data, tmp_path / "selected", selection)
    predict(copy_of(trained, data), data, tmp_path / "alone")
    assert read(tmp_path / "selected") == read(tmp_path / "alone")
