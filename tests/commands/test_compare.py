"""`lightning compare`: two trained checkpoints, their figures, table and file; its errors."""

from __future__ import annotations

import csv
import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from datamodules import OpenWebText
from datamodules.tokens.tokenizers import load_tokenizer
from glassbox.cli.checkpoints import LoadedModel
from glassbox.cli.commands.compare import compare
from glassbox.cli.main import main
from lightning_modules import GPT2, CrossEntropyHead, HarmonicHead, LanguageModel
from tests.helpers.trainers import quiet_trainer


def make_model(head, vocab_size: int = 257, width: int = 16) -> LanguageModel:
    torch.manual_seed(0)
    tiny = partial(GPT2, num_layers=1, num_heads=1, width=width)
    return LanguageModel(tiny, head, vocab_size=vocab_size, context_length=16, warmup_steps=1)


HARMONIC = LoadedModel(make_model(HarmonicHead), "bytes")
STANDARD = LoadedModel(make_model(CrossEntropyHead, width=8), "bytes")


def compared(output: Path, *models: LoadedModel, paths: list[str] | None = None, **options) -> str:
    """Compare models that need no files."""
    by_path = dict(zip(paths or ["a", "b"], models, strict=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{compare.__module__}.load_language_model", by_path.__getitem__)
        return compare([*by_path], str(output), **{"num_analogies": 0, **options})


def read(folder: Path) -> list[dict[str, str]]:
    text = (folder / "parallelograms.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@pytest.fixture
def checkpoints(tmp_path, token_folder) -> list[str]:
    """One training step of either head, through Lightning."""
    folder, paths = token_folder(), []
    for head in (CrossEntropyHead, HarmonicHead):
        trainer = quiet_trainer(max_steps=1, limit_val_batches=0)
        data = OpenWebText(
            str(folder), tokenizer="bytes", block_size=16, global_batch_size=4, micro_batch_size=4
        )
        trainer.fit(make_model(head), data)
        paths.append(str(tmp_path / f"{head.__name__}.ckpt"))
        trainer.save_checkpoint(paths[-1])
    return paths


def test_the_command_writes_figures_and_numbers_and_prints_a_table(checkpoints, tmp_path, capsys):
    output = tmp_path / "compared"
    options = ("--output", str(output), "--num_quadruples", "300", "--num_analogies", "20")
    main(["compare", *checkpoints, *options])
    figures = {"parallelogram_losses.png", "parallelogram_scatter.png", "parallelograms.png"}
    assert {path.name for path in output.iterdir()} == figures | {"parallelograms.csv"}
    rows = read(output)
    assert len(rows) == 6
    assert {row["model"] for row in rows} == {"cross-entropy", "harmonic"}
    printed = capsys.readouterr().out
    lines = {line.split()[0]: line.split() for line in printed.splitlines() if line.strip()}
    for row in rows:
        shown = lines[row["task"]]
        first = row["model"] == "cross-entropy"
        assert row["pairs"] == shown[1]
        assert f"{float(row['median']):.2f}" == shown[2 if first else 3]
        assert f"{100 * float(row['below_1']):.0f}" == shown[4 if first else 6]
        assert 0 < float(row["explained_variance"]) < 1
        # As bytes all plurals end in the same token, so that no analogy is a question.
        rank = float(row["analogy_median_rank"])
        assert 1 <= rank <= 257 or (math.isnan(rank) and row["task"] == "singular_plural")
        assert math.isnan(rank) == ("none" in shown)
    medians = {(row["model"], row["task"]): float(row["median"]) for row in rows}
    tasks = {row["task"] for row in rows}
    better = sum(medians["harmonic", t] < medians["cross-entropy", t] for t in tasks)
    assert f"harmonic has the smaller median loss in {better} of 3 tasks" in printed


def test_the_file_holds_what_the_probe_measures(tmp_path):
    from callbacks import Analogies, Parallelograms

    compared(tmp_path, HARMONIC, num_analogies=50, seed=2, squared=True)
    rows = {row["task"]: row for row in read(tmp_path)}
    encode = load_tokenizer("bytes").encode_batch
    trainer = SimpleNamespace(datamodule=SimpleNamespace(encode=encode))
    for probe, keys, prefix in (
        (Parallelograms(seed=2, squared=True), ("median", "below_1", "zeros", "relative"), ""),
        (
            Analogies(seed=2, num_quadruples=50),
            ("median_rank", "first", "top_10", "relative"),
            "analogy_",
        ),
    ):
        probe.setup(trainer, HARMONIC.model, "validate")
        values = probe.measure(trainer, HARMONIC.model)
        for task, row in rows.items():
            for key in keys:
                expected = values[f"{task}/{key}"].item()
                assert float(row[f"{prefix}{key}"]) == pytest.approx(expected, nan_ok=True), key


def test_one_model_has_no_scatter_and_the_whole_space_no_parallelograms(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "parallelograms.png").touch()  # of an earlier comparison
    compared(tmp_path / "a", HARMONIC)
    compared(tmp_path / "b", HARMONIC, STANDARD, components=None)
    files = [{path.stem for path in (tmp_path / name).glob("*.png")} for name in "ab"]
    assert files == [
        {"parallelogram_losses", "parallelograms"},
        {"parallelogram_losses", "parallelogram_scatter"},
    ]
    assert "analogy" not in (tmp_path / "a" / "parallelograms.csv").read_text()


def test_models_of_one_head_are_named_by_what_differs_in_their_paths(tmp_path):
    paths = ["runs/a/version_0/last.ckpt", "runs/b/version_0/last.ckpt"]
    table = compared(tmp_path, HARMONIC, HARMONIC, paths=paths)
    assert "harmonic a" in table and "harmonic b" in table
    table = compared(tmp_path, HARMONIC, HARMONIC, names=["x", "y"])
    assert "y has the smaller median loss in 0 of 3 tasks" in table


SMALL = LoadedModel(make_model(HarmonicHead, vocab_size=100), None)
OTHER = LoadedModel(HARMONIC.model, "other.json")
UNKNOWN = LoadedModel(HARMONIC.model, None)


@pytest.mark.parametrize(
    ("models", "options", "named"),
    [
        ([], {}, "checkpoints"),
        ([HARMONIC, SMALL], {}, "a: 257, b: 100"),
        ([HARMONIC, OTHER], {}, "other.json"),
        ([UNKNOWN], {}, "--tokenizer"),
        ([SMALL], {"tokenizer": "bytes"}, "--tokenizer"),
        ([HARMONIC, STANDARD], {"names": ["a", "a"]}, "names"),
        ([HARMONIC, STANDARD], {"components": 9}, "components"),
        ([HARMONIC], {"num_quadruples": 0}, "num_quadruples"),
        ([HARMONIC], {"num_analogies": -1}, "num_analogies"),
        ([HARMONIC], {"words": "nowhere"}, "nowhere"),
        ([HARMONIC], {"figure_task": "antonym"}, "figure_task"),
    ],
)
def test_what_is_not_comparable_is_refused_before_anything_is_written(
    tmp_path, models, options, named
):
    with pytest.raises(ValueError, match=named):
        compared(tmp_path / "out", *models, **options)
    assert not (tmp_path / "out").exists()
