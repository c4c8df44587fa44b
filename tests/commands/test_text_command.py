"""The shipped config of SAFR through the command line: resume, test, predict, bad input."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from glassbox.cli.main import main

SMALL = (
    "--model.network.width", "32", "--model.network.feedforward_dim", "64",
    "--model.network.mask_dim", "16", "--model.learning_rate", "0.002",
    "--trainer.precision", "32-true", "--trainer.log_every_n_steps", "1",
)  # fmt: skip
DELETE_ALL = '[{"class_path": "WordDeletion", "init_args": {"percent": 100}}]'


def arguments(text_folder: Path, command: str = "fit") -> list[str]:
    folder = str(text_folder / "sst")
    return [command, "--config", "configs/safr/safr_sst2.yaml", "--data.data_dir", folder, *SMALL]


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())["metrics"]


def test_a_run_with_early_stopping_goes_on_from_the_end_of_an_epoch(lightning_command, text_folder):
    words = arguments(text_folder)
    whole = lightning_command(*words, "--trainer.max_epochs", "4")
    first = lightning_command(*words, "--trainer.max_epochs", "2")
    checkpoint = str(first / "checkpoints" / "last.ckpt")
    second = lightning_command(*words, "--trainer.max_epochs", "4", "--ckpt_path", checkpoint)
    assert len({whole, first, second}) == 3
    expected, found = results(whole), results(second)
    for name in ("val/loss", "test/loss", "best/epoch", "test/deletion/srs", "train/importance"):
        assert found[name] == expected[name], name


def test_test_and_predict_take_the_best_weights_of_a_checkpoint(lightning_command, text_folder):
    run = lightning_command(*arguments(text_folder), "--trainer.max_epochs", "3")
    checkpoint = ["--ckpt_path", str(run / "checkpoints" / "last.ckpt")]
    tested = lightning_command(*arguments(text_folder, "test"), *checkpoint)
    for name in ("test/accuracy", "test/deletion/srs", "test/capacity/ffn1_all"):
        assert results(tested)[name] == pytest.approx(results(run)[name]), name
    predicted = lightning_command(*arguments(text_folder, "predict"), *checkpoint)
    with (predicted / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["prediction"] == row["label"] for row in rows) / len(rows)
    assert right == pytest.approx(results(run)["test/accuracy"][0])


def test_parts_of_the_loss_are_logged_and_add_up(lightning_command, text_folder):
    found = results(lightning_command(*arguments(text_folder), "--trainer.max_epochs", "1"))
    parts = [found[f"train/{name}"][0] for name in ("head_loss", "importance", "interaction")]
    assert found["train/loss"][0] == pytest.approx(parts[0] + parts[1] + 0.1 * parts[2], rel=1e-4)


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (["--model.network.pooling", "all"], "set data.pad_to to max_length"),
        (["--model.importance_form", "code"], "set data.pad_to to max_length"),
        (["--model.interaction_form", "cod"], "it must be one of 'masked', 'paper', 'code'"),
        (["--model.network", "MLP"], "it is no TextTransformer"),
        (["--data.variant", "glu"], "did you mean 'glue'?"),
        (["--data.data_dir", "nowhere"], "nowhere"),
        (["--trainer.callbacks.percent", "100"], "NeuronAllocation: percent is 100.0; it must be"),
        (["--trainer.callbacks", DELETE_ALL], "WordDeletion: percent is 100.0; it must be"),
    ],
)
def test_a_setting_that_cannot_be_is_one_sentence(extra, sentence, text_folder, in_root, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*arguments(text_folder, "check"), *extra])
    told = capsys.readouterr().err
    assert stop.value.code == 2
    (line,) = [line for line in told.splitlines() if line.startswith("error: ")]
    assert sentence in line
