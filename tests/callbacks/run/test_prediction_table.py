"""PredictionTable: one row per seed and example, in words where the task has words."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from callbacks import PredictionTable
from datamodules import AlgorithmicData, Genealogy
from lightning_modules import Classifier


def read(folder):
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.reader(file))


def write(tmp_path, outputs, task=None, seeds=(5, 8), batches=1):
    trainer = SimpleNamespace(
        datamodule=SimpleNamespace(task=task) if task else None,
        loggers=[SimpleNamespace(log_dir=str(tmp_path / "run"))],
        is_global_zero=True,
    )
    module, table = SimpleNamespace(seeds=list(seeds)), PredictionTable()
    table.on_predict_start(trainer, module)
    for index in range(batches):
        table.on_predict_batch_end(trainer, module, outputs, outputs, index)
    table.on_predict_end(trainer, module)
    return table, trainer, module


# Two seeds, three examples; the first seed has only two, and is filled up.
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


def test_rows_and_header_of_two_seeds_without_the_filling(tmp_path, capsys):
    write(tmp_path, OUTPUTS)
    assert read(tmp_path / "run") == TOKENS
    assert "3 of 5 answers are right" in capsys.readouterr().out


def test_tokens_stand_by_the_labels_of_the_task(tmp_path):
    labels = [f"<{token}, it>" for token in range(16)]  # a comma is no new column
    write(tmp_path, OUTPUTS, SimpleNamespace(token_labels=labels))
    expected = [[*row[:2], *(labels[int(token)] for token in row[2:])] for row in TOKENS[1:]]
    assert read(tmp_path / "run") == [TOKENS[0], *expected]


def test_batches_follow_one_another_under_one_header(tmp_path):
    write(tmp_path, OUTPUTS, batches=2)
    assert read(tmp_path / "run") == [*TOKENS, *TOKENS[1:]]


def test_a_second_prediction_starts_afresh(tmp_path):
    table, trainer, module = write(tmp_path, OUTPUTS)
    table.on_predict_batch_end(trainer, module, OUTPUTS, OUTPUTS, 0)
    table.on_predict_end(trainer, module)
    assert read(tmp_path / "run") == TOKENS


@pytest.mark.parametrize(
    "missing",
    [
        {"loggers": [SimpleNamespace(log_dir=None, save_dir=None)]},
        {"loggers": []},
        {"is_global_zero": False},
    ],
)
def test_nothing_is_written_without_a_folder_or_on_other_ranks(tmp_path, missing):
    trainer = SimpleNamespace(
        **{
            "datamodule": None,
            "loggers": [SimpleNamespace(log_dir=str(tmp_path))],
            "is_global_zero": True,
            **missing,
        }
    )
    table, module = PredictionTable(), SimpleNamespace(seeds=[5, 8])
    table.on_predict_batch_end(trainer, module, OUTPUTS, OUTPUTS, 0)
    table.on_predict_end(trainer, module)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "of_head", "names", "cells"),
    [
        (
            [("distinct", 0.3), ("distinct", 0.8)],
            [{}, {}],
            ["train_fraction"],
            [["0.3"], ["0.8"]],
        ),
        (
            [("distinct", 0.3), ("with_replacement", 0.8)],
            [{"exponent": 2.0}, {"exponent": 4.0}],
            ["sampling", "train_fraction", "exponent"],
            [["distinct", "0.3", "2.0"], ["with_replacement", "0.8", "4.0"]],
        ),
        ([("distinct", 0.8)] * 2, [{"exponent": 1.0}] * 2, [], [[], []]),
    ],
)
def test_members_that_differ_in_more_than_their_seed_have_those_settings_as_columns(
    tmp_path, settings, of_head, names, cells
):
    of_data = [{"sampling": sampling, "train_fraction": share} for sampling, share in settings]
    trainer = SimpleNamespace(
        datamodule=SimpleNamespace(member_settings=of_data, task=None),
        loggers=[SimpleNamespace(log_dir=str(tmp_path / "run"))],
        is_global_zero=True,
    )
    module, table = SimpleNamespace(seeds=[5, 5], head_settings=of_head), PredictionTable()
    table.on_predict_start(trainer, module)
    table.on_predict_batch_end(trainer, module, OUTPUTS, OUTPUTS, 0)
    table.on_predict_end(trainer, module)
    rest = [row[1:] for row in TOKENS]
    members = [cells[0]] * 2 + [cells[1]] * 3  # two examples of the first, three of the second
    expected = [["5", *of, *row] for of, row in zip(members, rest[1:], strict=True)]
    assert read(tmp_path / "run") == [["seed", *names, *rest[0]], *expected]


def test_predict_writes_what_each_member_answers_alone(tmp_path):
    data = AlgorithmicData(Genealogy(), num_samples=60)
    module = Classifier(vocab_size=130, num_inputs=2, num_classes=130, seeds=[5, 8])
    trainer = L.Trainer(
        callbacks=[PredictionTable()],
        logger=CSVLogger(tmp_path, name="", version="run"),
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.predict(module, datamodule=data)
    header, *rows = read(tmp_path / "run")
    assert header == ["seed", "part", "input_0", "input_1", "target", "prediction"]
    assert len(rows) == 2 * 60
    labels = data.task.token_labels
    for index, (seed, split) in enumerate(zip((5, 8), data.splits, strict=True)):
        inputs = torch.cat([split.train_inputs, split.test_inputs])
        targets = torch.cat([split.train_targets, split.test_targets])
        with torch.no_grad():
            answers = module.member(index).eval()(inputs).argmax(-1)
        parts = ["train"] * 48 + ["test"] * 12
        columns = (inputs[:, 0], inputs[:, 1], targets, answers)
        words = ([labels[token] for token in column.tolist()] for column in columns)
        expected = [[str(seed), *row] for row in zip(parts, *words, strict=True)]
        assert rows[60 * index : 60 * (index + 1)] == expected
    assert {row[3] for row in rows} == {"parent", "grandparent", "sibling"}
