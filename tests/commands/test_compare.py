"""`lightning compare`: two trained checkpoints, their figures, table and file; what it refuses."""

from __future__ import annotations

import csv
import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import lightning as L
import pytest
import torch

from datamodules import OpenWebText
from datamodules.tokens.tokenizers import load_tokenizer
from glassbox.cli.checkpoints import choose_tokenizer
from glassbox.cli.commands.compare import compare
from glassbox.cli.main import main
from lightning_modules import GPT2, CrossEntropyHead, HarmonicHead, LanguageModel


class Loaded(NamedTuple):
    model: LanguageModel
    tokenizer: str | None


def make_model(head, vocab_size: int = 257, width: int = 16) -> LanguageModel:
    torch.manual_seed(0)
    tiny = partial(GPT2, num_layers=1, num_heads=1, width=width)
    return LanguageModel(tiny, head, vocab_size=vocab_size, context_length=16, warmup_steps=1)


def loader(**models: Loaded):
    return {
        "load_model": lambda path: models[path],
        "load_tokenizer": load_tokenizer,
        "choose_tokenizer": choose_tokenizer,
    }


HARMONIC = Loaded(make_model(HarmonicHead), "bytes")
STANDARD = Loaded(make_model(CrossEntropyHead, width=8), "bytes")


def read(folder: Path) -> list[dict[str, str]]:
    text = (folder / "parallelograms.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@pytest.fixture
def checkpoints(tmp_path, token_folder) -> list[str]:
    """One training step of either head, through Lightning."""
    folder, paths = token_folder(), []
    for head in (CrossEntropyHead, HarmonicHead):
        trainer = L.Trainer(
            accelerator="cpu",
            max_steps=1,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        data = OpenWebText(
            str(folder), tokenizer="bytes", block_size=16, global_batch_size=4, micro_batch_size=4
        )
        trainer.fit(make_model(head), data)
        paths.append(str(tmp_path / f"{head.__name__}.ckpt"))
        trainer.save_checkpoint(paths[-1])
    return paths


def test_the_command_writes_figures_and_numbers_and_prints_a_table(checkpoints, tmp_path, capsys):
    output = tmp_path / "compared"
    main(
        [
            *("compare", "--checkpoints", f"[{', '.join(checkpoints)}]", "--output", str(output)),
            *("--num_quadruples", "300", "--num_analogies", "20"),
        ]
    )
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

    compare(["h"], str(tmp_path), num_analogies=50, seed=2, **loader(h=HARMONIC))
    rows = {row["task"]: row for row in read(tmp_path)}
    encode = load_tokenizer("bytes").encode_batch
    trainer = SimpleNamespace(datamodule=SimpleNamespace(encode=encode))
    for probe, keys, prefix in (
        (Parallelograms(seed=2), ("median", "below_1", "zeros", "relative"), ""),
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
                found = values[f"{task}/{key}"].item()
                assert float(row[f"{prefix}{key}"]) == pytest.approx(found, nan_ok=True), key


def test_one_model_has_no_scatter_and_the_whole_space_no_parallelograms(tmp_path):
    compare(["h"], str(tmp_path / "a"), num_analogies=0, **loader(h=HARMONIC))
    compare(
        ["h", "s"], str(tmp_path / "b"), components=None, num_analogies=0,
        **loader(h=HARMONIC, s=STANDARD),
    )  # fmt: skip
    files = [{path.stem for path in (tmp_path / name).glob("*.png")} for name in "ab"]
    assert files == [
        {"parallelogram_losses", "parallelograms"},
        {"parallelogram_losses", "parallelogram_scatter"},
    ]
    assert "analogy" not in (tmp_path / "a" / "parallelograms.csv").read_text()


def test_models_of_one_head_are_named_by_what_differs_in_their_paths(tmp_path):
    paths = ["runs/a/version_0/last.ckpt", "runs/b/version_0/last.ckpt"]
    models = dict.fromkeys(paths, HARMONIC)
    table = compare(paths, str(tmp_path), num_analogies=0, **loader(**models))
    assert "harmonic a" in table and "harmonic b" in table
    table = compare(paths, str(tmp_path), names=["x", "y"], num_analogies=0, **loader(**models))
    assert "y has the smaller median loss in 0 of 3 tasks" in table


def test_gpt2s_vocabulary_needs_no_name_of_a_tokenizer(tmp_path):
    asked: list[str] = []

    def load(name: str):
        asked.append(name)
        encode = load_tokenizer("bytes").encode_batch
        return SimpleNamespace(vocab_size=50257, encode_batch=encode, decode=str)

    model = make_model(HarmonicHead, vocab_size=50257, width=4)
    compare(
        ["m"], str(tmp_path), num_analogies=0,
        **{**loader(m=Loaded(model, None)), "load_tokenizer": load},
    )  # fmt: skip
    assert asked == ["gpt2"]


SMALL = Loaded(make_model(HarmonicHead, vocab_size=100), None)
OTHER = Loaded(HARMONIC.model, "other.json")
UNKNOWN = Loaded(HARMONIC.model, None)


@pytest.mark.parametrize(
    ("models", "options", "sentence"),
    [
        ([], {}, "checkpoints is empty"),
        ([HARMONIC, SMALL], {}, r"different vocabularies \(m0: 257, m1: 100 tokens\)"),
        ([HARMONIC, OTHER], {}, "there is no tokenizer file other.json"),
        ([UNKNOWN], {}, "do not say which tokenizer .*--tokenizer .*257 tokens"),
        ([SMALL], {"tokenizer": "bytes"}, "bytes has 257 tokens and the model 100; name the one"),
        ([HARMONIC, STANDARD], {"names": ["a"]}, "give each of the 2 checkpoints its own"),
        ([HARMONIC, STANDARD], {"names": ["a", "a"]}, "give each of the 2 checkpoints its own"),
        ([HARMONIC, STANDARD], {"components": 9}, "components is 9"),
        ([HARMONIC], {"num_quadruples": 0}, "num_quadruples is 0"),
        ([HARMONIC], {"num_analogies": -1}, "num_analogies is -1"),
        ([HARMONIC], {"words": "nowhere"}, "words is nowhere"),
        ([HARMONIC], {"figure_task": "antonym"}, "figure_task is 'antonym'"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_written(
    tmp_path, models, options, sentence
):
    named = {f"m{number}": model for number, model in enumerate(models)}
    with pytest.raises(ValueError, match=sentence):
        compare(list(named), str(tmp_path / "out"), **options, **loader(**named))
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused_before_anything_is_measured(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ValueError, match="which is a file; name a folder"):
        compare(["m"], str(tmp_path / "out"), **{**loader(), "load_model": pytest.fail})


def test_figures_of_an_earlier_comparison_do_not_stay_beside_a_new_table(tmp_path):
    compare(["h", "s"], str(tmp_path), num_analogies=0, **loader(h=HARMONIC, s=STANDARD))
    assert (tmp_path / "parallelogram_scatter.png").exists()
    compare(["h"], str(tmp_path), components=None, num_analogies=0, **loader(h=HARMONIC))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "parallelogram_losses.png",
        "parallelograms.csv",
    ]


def test_squared_is_the_square_of_the_loss(tmp_path):
    for name, squared in (("a", False), ("b", True)):
        folder = str(tmp_path / name)
        compare(["h"], folder, squared=squared, num_analogies=0, **loader(h=HARMONIC))
    for one, two in zip(read(tmp_path / "a"), read(tmp_path / "b"), strict=True):
        assert float(two["median"]) == pytest.approx(float(one["median"]) ** 2, rel=1e-3)
        assert two["below_1"] == one["below_1"]


def test_a_missing_checkpoint_ends_the_command_with_one_sentence(capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(["compare", "--checkpoints", f"[{tmp_path}/nowhere.ckpt]"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "nowhere.ckpt" in error and error.count("\n") == 1
