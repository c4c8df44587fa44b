"""PredictionTable: a row per seed and example, or per text, in the words of the data."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from callbacks import ModelSelection, PredictionTable
from datamodules import AlgorithmicData, Genealogy
from lightning_modules import Classifier
from tests.helpers.planted_words import planted_data, read_part, small_classifier, text_trainer
from tests.helpers.trainers import quiet_trainer

# Two seeds and three examples; the first seed has two, and padding.
OUTPUTS = {
    "inputs": torch.tensor([[[1, 2], [3, 4], [0, 0]], [[5, 6], [7, 8], [9, 10]]]),
    "targets": torch.tensor([[11, 12, -100], [13, 14, 15]]),
    "predictions": torch.tensor([[11, 0, 1], [13, 2, 15]]),
    "is_test": torch.tensor([[False, True, False], [False, True, True]]),
}
TOKENS = [
    ["seed", "part", "input_0", "input_1", "target", "prediction"],
    ["5", "train", "1", "2", "11", "11"],
    ["5", "test", "3", "4", "12", "0"],
    ["8", "train", "5", "6", "13", "13"],
    ["8", "test", "7", "8", "14", "2"],
    ["8", "test", "9", "10", "15", "15"],
]


def read(folder: Path) -> list[list[str]]:
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def predict(folder: Path, outputs=OUTPUTS, table=None, batches=1, data=None, module=None, **state):
    """Call the hooks as Lightning does."""
    trainer = SimpleNamespace(
        **{
            "datamodule": data and SimpleNamespace(**{"task": None, **data}),
            "loggers": [SimpleNamespace(log_dir=str(folder))],
            "is_global_zero": True,
            **state,
        }
    )
    module = SimpleNamespace(**{"seeds": [5, 8], **(module or {})})
    table = table or PredictionTable()
    table.on_predict_start(trainer, module)
    for index in range(batches):
        table.on_predict_batch_end(trainer, module, outputs, outputs, index)
    table.on_predict_end(trainer, module)


def test_rows_and_header_of_two_seeds_without_padding(tmp_path, capsys):
    table = PredictionTable()
    predict(tmp_path, table=table)
    assert read(tmp_path) == TOKENS
    assert "60.0%" in capsys.readouterr().out
    predict(tmp_path, table=table, batches=2)  # a second prediction replaces the first
    assert read(tmp_path) == [*TOKENS, *TOKENS[1:]]


def test_tokens_are_written_as_the_labels_of_the_task(tmp_path):
    labels = [f"<{token}, it>" for token in range(16)]  # a comma starts no new column
    predict(tmp_path, data={"task": SimpleNamespace(token_labels=labels)})
    expected = [[*row[:2], *(labels[int(token)] for token in row[2:])] for row in TOKENS[1:]]
    assert read(tmp_path) == [TOKENS[0], *expected]


@pytest.mark.parametrize(
    "state",
    [{"loggers": [SimpleNamespace(log_dir=None, save_dir=None)]}, {"is_global_zero": False}],
)
def test_nothing_is_written_without_a_folder_or_on_other_ranks(tmp_path, state):
    predict(tmp_path, **state)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "of_head", "names", "cells"),
    [
        (
            [("distinct", 0.3), ("with_replacement", 0.8)],
            [{"exponent": 2.0}, {"exponent": 4.0}],
            ["sampling", "train_fraction", "exponent"],
            [["distinct", "0.3", "2.0"], ["with_replacement", "0.8", "4.0"]],
        ),
        ([("distinct", 0.8)] * 2, [{"exponent": 1.0}] * 2, [], [[], []]),
    ],
)
def test_settings_that_differ_between_members_have_columns(
    tmp_path, settings, of_head, names, cells
):
    of_data = [{"sampling": sampling, "train_fraction": part} for sampling, part in settings]
    module = {"seeds": [5, 5], "head_settings": of_head}
    predict(tmp_path, data={"member_settings": of_data}, module=module)
    rest = [row[1:] for row in TOKENS]
    members = [cells[0]] * 2 + [cells[1]] * 3  # two examples of the first, three of the second
    expected = [["5", *member, *row] for member, row in zip(members, rest[1:], strict=True)]
    assert read(tmp_path) == [["seed", *names, *rest[0]], *expected]


def make_trainer(tmp_path: Path) -> L.Trainer:
    return quiet_trainer(PredictionTable(), logger=CSVLogger(tmp_path, name="", version="run"))


def test_predictions_are_those_of_each_member_alone(tmp_path):
    data = AlgorithmicData(Genealogy(), num_samples=60)
    module = Classifier(vocab_size=130, num_inputs=2, num_classes=130, seeds=[5, 8])
    make_trainer(tmp_path).predict(module, datamodule=data)
    header, *rows = read(tmp_path / "run")
    assert header == TOKENS[0] and len(rows) == 2 * 60
    labels = data.task.token_labels
    for index, (seed, split) in enumerate(zip((5, 8), data.splits, strict=True)):
        inputs = torch.cat([split.train_inputs, split.test_inputs])
        targets = torch.cat([split.train_targets, split.test_targets])
        with torch.no_grad():
            predictions = module.member(index).eval()(inputs).argmax(-1)
        parts = ["train"] * 48 + ["test"] * 12
        columns = (inputs[:, 0], inputs[:, 1], targets, predictions)
        words = ([labels[token] for token in column.tolist()] for column in columns)
        expected = [[str(seed), *row] for row in zip(parts, *words, strict=True)]
        assert rows[60 * index : 60 * (index + 1)] == expected
    assert {row[3] for row in rows} == {"parent", "grandparent", "sibling"}


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.parametrize("output", [torch.ones(2), {"probabilities": torch.ones(2)}])
def test_other_outputs_of_predict_step_are_left_alone(tmp_path, output):
    class Other(L.LightningModule):
        def predict_step(self, batch, batch_idx):
            return output

    loader = torch.utils.data.DataLoader(torch.ones(2, 1))
    assert len(make_trainer(tmp_path).predict(Other(), loader)) == 2
    assert not list(tmp_path.rglob("predictions.csv"))


# ---- texts ---------------------------------------------------------------------------------------

NAMES = ("negative", "positive")
TEXT_HEADER = ["text", "label", "prediction", "probability_negative", "probability_positive"]


def predict_texts(model: Any, data: Any, folder: Path, *callbacks: Any, **options: Any) -> None:
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
    predict_texts(copy_of(trained, data), data, tmp_path)
    header, *rows = read(tmp_path / "run")
    assert header == TEXT_HEADER
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
    predict_texts(copy_of(trained, data), data, tmp_path)
    assert read(tmp_path / "run")[-1][:2] == [text, "positive"]


def test_predictions_are_those_of_the_best_weights_if_a_run_kept_them(trained, tmp_path):
    data = planted_data(trained.folder)
    selection = ModelSelection()
    selection.best = {  # also under the names of an old checkpoint
        name.replace(".fc_in.", ".feedforward1."): value.clone()
        for name, value in trained.model.state_dict().items()
    }
    assert any("feedforward1" in name for name in selection.best)
    selection.score = 1.0
    predict_texts(small_classifier(data, seed=3), data, tmp_path / "selected", selection)
    predict_texts(copy_of(trained, data), data, tmp_path / "alone")
    assert read(tmp_path / "selected" / "run") == read(tmp_path / "alone" / "run")
