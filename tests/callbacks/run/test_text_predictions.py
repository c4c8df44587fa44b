"""PredictionTable of texts: every test text once, by name, whatever batches and ranks."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from callbacks import ModelSelection, PredictionTable
from tests.helpers.planted_words import planted_data, read_part, small_classifier, text_trainer

NAMES = ("negative", "positive")
HEADER = ["text", "label", "prediction", "probability_negative", "probability_positive"]


def predict(model: Any, data: Any, folder: Path, *callbacks: Any, **options: Any) -> list[Any]:
    """The table that `predict` writes."""
    logger = CSVLogger(folder, name="", version="run")
    trainer = text_trainer(*callbacks, PredictionTable(), logger=logger, **options)
    trainer.predict(model, datamodule=data, return_predictions=False)
    path = folder / "run" / "predictions.csv"
    if not trainer.is_global_zero:
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def copy_of(trained, data: Any) -> Any:
    model = small_classifier(data)
    model.load_state_dict(trained.model.state_dict())
    return model


@pytest.mark.parametrize("options", [{}, {"batch_size": 7, "pad_to": "max_length"}])
def test_every_test_text_has_a_row_in_its_order_as_it_is_classified_alone(
    trained, tmp_path, capsys, options
):
    data = planted_data(trained.folder, **options)
    header, *rows = predict(copy_of(trained, data), data, tmp_path)
    assert header == HEADER
    expected = read_part(trained.folder, "test")
    assert [(row[0], row[1]) for row in rows] == [(t, NAMES[label]) for t, label in expected]
    right = 0
    for text, label, said, *shares in rows:
        with torch.no_grad():
            logits = trained.model.classify(trained.data.encode([text]))[0]
        assert [float(share) for share in shares] == pytest.approx(logits.softmax(-1), abs=1e-4)
        assert said == NAMES[logits.argmax()]
        right += said == label
    said = capsys.readouterr().out
    assert f"{right} of 73 answers are right; written to" in said


def test_the_texts_of_as_many_batches_as_are_asked_for_stand_in_the_table(trained, tmp_path):
    data = planted_data(trained.folder, batch_size=7)
    _, *rows = predict(copy_of(trained, data), data, tmp_path, limit_predict_batches=2)
    texts = [text for text, _ in read_part(trained.folder, "test")]
    places = [texts.index(row[0]) for row in rows]
    assert len(places) in (10, 14) and places == sorted(set(places))  # one batch has 3 texts


def test_odd_characters_and_commas_of_a_text_are_kept(trained, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for part in ("train", "dev", "test"):
        (folder / f"{part}.tsv").write_text((trained.folder / f"{part}.tsv").read_text())
    odd = 'so "warm", café\u2028; dull'
    with (folder / "test.tsv").open("a", encoding="utf-8") as file:
        file.write(f"{odd}\t1\n")
    data = planted_data(folder)
    assert predict(copy_of(trained, data), data, tmp_path)[-1][:2] == [odd, "positive"]


def test_the_best_weights_answer_where_a_run_kept_them(trained, tmp_path):
    data = planted_data(trained.folder)
    model, selection = small_classifier(data, seed=3), ModelSelection()
    selection.best = {k: v.clone() for k, v in trained.model.state_dict().items()}
    selection.score = 1.0
    _, *rows = predict(model, data, tmp_path, selection)
    _, *alone = predict(copy_of(trained, data), data, tmp_path / "alone")
    assert rows == alone


def on_rank(rank: int, world: int, folder: str, trained: Any, port: int) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world),
        GROUP_RANK="0", TORCHELASTIC_RUN_ID="test", MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port), OMP_NUM_THREADS="1",
    )  # fmt: skip
    torch.set_num_threads(1)
    data = planted_data(Path(trained), batch_size=12)  # the last batch is one text
    model = small_classifier(data)
    model.load_state_dict(torch.load(Path(folder) / "weights.pt"))
    predict(model, data, Path(folder), devices=world, strategy="ddp")
    single = planted_data(Path(trained), batch_size=1)  # of which only one rank has a row
    options = {"devices": world, "strategy": "ddp", "limit_predict_batches": 1}
    predict(model, single, Path(folder) / "single", **options)


@pytest.mark.ddp
def test_two_ranks_write_the_table_of_one(trained, tmp_path, spawn_ranks):
    data = planted_data(trained.folder, batch_size=12)
    alone = predict(copy_of(trained, data), data, tmp_path / "alone")
    torch.save(trained.model.state_dict(), tmp_path / "weights.pt")
    spawn_ranks(on_rank, 2, 2, str(tmp_path), str(trained.folder))
    with (tmp_path / "run" / "predictions.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert [row[:3] for row in rows] == [row[:3] for row in alone]
    for row, other in zip(rows[1:], alone[1:], strict=True):
        assert list(map(float, row[3:])) == pytest.approx(list(map(float, other[3:])), abs=1e-5)
    with (tmp_path / "single" / "run" / "predictions.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 2
