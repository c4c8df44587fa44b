"""The shipped config of SAFR through the command line: resume, test, predict, bad input."""

from __future__ import annotations

import contextlib
import csv
import json
from pathlib import Path

import pytest

from glassbox.cli.main import main
from tests.helpers.paths import ROOT

SMALL = (
    "--model.network.width", "32", "--model.network.feedforward_dim", "64",
    "--model.network.mask_dim", "16", "--model.learning_rate", "0.002",
    "--trainer.precision", "32-true", "--trainer.log_every_n_steps", "1",
)  # fmt: skip


def arguments(text_folder: Path, command: str = "fit") -> list[str]:
    folder = str(text_folder / "sst")
    return [command, "--config", "configs/safr/safr_sst2.yaml", "--data.data_dir", folder, *SMALL]


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())["metrics"]


@pytest.fixture(scope="module")
def run(text_folder, tmp_path_factory) -> Path:
    """The folder of a run of two epochs."""
    root = tmp_path_factory.mktemp("text")
    words = [*arguments(text_folder), "--trainer.max_epochs", "2"]
    with contextlib.chdir(ROOT):
        main([*words, "--trainer.default_root_dir", str(root)])
    (folder,) = root.glob("*/*")
    return folder


def test_a_run_with_early_stopping_resumes_from_the_end_of_an_epoch(
    run, lightning_command, text_folder
):
    words = arguments(text_folder)
    first = lightning_command(*words, "--trainer.max_epochs", "1")
    checkpoint = str(first / "checkpoints" / "last.ckpt")
    second = lightning_command(*words, "--trainer.max_epochs", "2", "--ckpt_path", checkpoint)
    expected, resumed = results(run), results(second)
    for name in ("val/loss", "test/loss", "best/epoch", "test/deletion/srs", "train/importance"):
        assert resumed[name] == expected[name], name


def test_test_and_predict_take_the_best_weights_of_a_checkpoint(
    run, lightning_command, text_folder
):
    checkpoint = ["--ckpt_path", str(run / "checkpoints" / "last.ckpt")]
    tested = lightning_command(*arguments(text_folder, "test"), *checkpoint)
    for name in ("test/accuracy", "test/deletion/srs", "test/capacity/ffn1_all"):
        assert results(tested)[name] == pytest.approx(results(run)[name]), name
    predicted = lightning_command(*arguments(text_folder, "predict"), *checkpoint)
    with (predicted / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["prediction"] == row["label"] for row in rows) / len(rows)
    assert right == pytest.approx(results(run)["test/accuracy"][0])


def test_parts_of_the_loss_add_up(run):
    parts = [results(run)[f"train/{n}"][0] for n in ("head_loss", "importance", "interaction")]
    total = parts[0] + parts[1] + 0.1 * parts[2]
    assert results(run)["train/loss"][0] == pytest.approx(total, rel=1e-4)
