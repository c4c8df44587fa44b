"""`lightning prepare`, `check`, `fit` and `validate` for a language model, as a user meets them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import socket
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml

from glassbox.cli.main import main
from tests.helpers.language_model_command import prepare, sentence, with_data, write_texts
from tests.helpers.paths import ROOT


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    """Sixty documents, their tokens by `lightning prepare`, and a run of `lightning fit`."""
    folder = tmp_path_factory.mktemp("made")
    texts = write_texts(folder / "texts")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(ROOT), redirect_stdout(out), redirect_stderr(err):
        prepare(folder / "tokens", texts)
        prepared = out.getvalue()
        main(
            [
                "fit",
                *with_data(folder / "tokens"),
                "--trainer.default_root_dir",
                str(folder / "runs"),
            ]
        )
    (run,) = folder.glob("runs/*/*")
    return Made(texts, folder / "tokens", run, prepared, out.getvalue(), err.getvalue())


class Made(NamedTuple):
    corpus: Path
    shards: Path
    run: Path
    prepared: str
    out: str
    err: str


@pytest.fixture
def shards(made, in_root) -> Path:
    return made.shards


def rows(folder: Path) -> list[dict[str, float]]:
    with open(folder / "metrics.csv") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


# ---- prepare -------------------------------------------------------------------------------------


def test_prepare_writes_shards_and_tells_what_it_wrote(made):
    meta = json.loads((made.shards / "meta.json").read_text())
    tokens = {split: part["tokens"] for split, part in meta["splits"].items()}
    assert meta["tokenizer"] == "bytes" and tokens["train"] > tokens["val"] > 16
    assert "60 documents" in made.prepared and f"{tokens['train']:,} tokens" in made.prepared


def test_prepare_has_nothing_to_do_a_second_time_and_leaves_no_run(made, shards, tmp_path, capsys):
    prepare(shards, made.corpus, "--trainer.default_root_dir", str(tmp_path / "runs"))
    assert "nothing to do" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


def test_prepare_is_refused_for_data_that_need_none(in_root, tmp_path, capsys):
    said = sentence(capsys, tmp_path, "prepare", "--config", "configs/quickstart.yaml")
    assert "AlgorithmicData needs no preparation" in said and "lightning fit" in said


def test_prepare_names_a_pattern_without_files(in_root, tmp_path, capsys):
    said = sentence(
        capsys, tmp_path, "prepare", *with_data(tmp_path / "t"), "--data.files", f"{tmp_path}/*.txt"
    )
    assert "no file matches" in said and f"{tmp_path}/*.txt" in said


def test_prepare_without_network_or_cache_fails_at_once_and_tells_the_remedy(
    in_root, made, tmp_path, capsys, monkeypatch
):
    import tiktoken.registry

    tried = []

    def offline(host, *rest, **options):
        tried.append(host)
        raise socket.gaierror("offline")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "empty"))
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    said = sentence(
        capsys, tmp_path, "prepare", *with_data(tmp_path / "t"),
        "--data.files", f"{made.corpus}/*.jsonl", "--data.tokenizer", "gpt2",
    )  # fmt: skip
    assert "'gpt2'" in said and "TIKTOKEN_CACHE_DIR" in said and "bytes" in said
    assert len(tried) == 1  # no retries


# ---- fit, validate, check ------------------------------------------------------------------------


def test_fit_leaves_its_losses_in_results_and_metrics(made):
    assert made.run.parent.name == "gpt2_cpu"
    results = json.loads((made.run / "results.json").read_text())
    metrics = results["metrics"]
    assert results["name"] == "gpt2_cpu" and results["steps_per_second"] > 0
    for name in ("train/loss", "val/loss", "val/perplexity"):
        assert len(metrics[name]) == 1 and math.isfinite(metrics[name][0])
    assert metrics["val/perplexity"][0] == pytest.approx(math.exp(metrics["val/loss"][0]), rel=1e-4)
    assert metrics["val/loss"][0] < math.log(257)  # better than knowing nothing
    found = rows(made.run)
    assert [row["step"] for row in found if "train/loss" in row] == [2, 4, 6]
    assert [row["step"] for row in found if "val/loss" in row] == [3, 6]
    last = [row for row in found if "val/loss" in row][-1]
    assert last["val/loss"] == pytest.approx(metrics["val/loss"][0])
    kept = {path.name for path in (made.run / "checkpoints").iterdir()}
    assert kept == {"last.ckpt", "previous.ckpt"}
    stored = torch.load(made.run / "checkpoints" / "last.ckpt", weights_only=True)
    assert stored["global_step"] == 6


def test_steps_in_metrics_are_whole_numbers_in_every_row(made):
    with open(made.run / "metrics.csv") as file:
        assert all(row["step"].isdigit() for row in csv.DictReader(file))


def test_the_closing_table_shows_the_losses(made):
    for name in ("train/loss", "val/loss", "val/perplexity", "optimizer steps per second"):
        assert name in made.out


def test_the_progress_bar_counts_steps(made):
    assert "6/6" in made.err and "step" in made.err and "epoch" not in made.err
    assert "train loss=" in made.err and "val loss=" in made.err


def test_the_control_differs_from_the_config_in_the_head_alone(lightning_command, made, shards):
    one = made.run
    two = lightning_command("fit", *with_data(shards), "--model.head", "CrossEntropyHead")
    configs = [yaml.safe_load((folder / "config.yaml").read_text()) for folder in (one, two)]
    heads = [config["model"]["init_args"].pop("head") for config in configs]
    assert [head["class_path"].rpartition(".")[2] for head in heads] == [
        "HarmonicHead",
        "CrossEntropyHead",
    ]
    for config in configs:
        del config["trainer"]["default_root_dir"]
    assert configs[0] == configs[1]
    stored = [torch.load(f / "checkpoints" / "last.ckpt", weights_only=True) for f in (one, two)]
    assert stored[0]["state_dict"].keys() == stored[1]["state_dict"].keys()


def test_saved_config_repeats_the_run_exactly(lightning_command, made):
    first = made.run
    again = lightning_command("fit", "--config", str(first / "config.yaml"))
    one, two = (
        {k: v for k, v in json.loads((f / "results.json").read_text())["metrics"].items()
         if not k.startswith("speed/")}
        for f in (first, again)
    )  # fmt: skip
    assert one == two and again != first


def test_resumed_run_ends_with_the_same_bits_on_the_command_line(lightning_command, made, shards):
    end = ("--model.decay_steps", "6")
    half = lightning_command("fit", *with_data(shards), *end, "--trainer.max_steps", "3")
    resumed = lightning_command(
        "fit", *with_data(shards), *end, "--ckpt_path", str(half / "checkpoints" / "last.ckpt")
    )
    one, two = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        for folder in (made.run, resumed)
    )
    assert one["global_step"] == two["global_step"] == 6
    assert all(torch.equal(v, two["state_dict"][k]) for k, v in one["state_dict"].items())


def test_going_on_with_a_run_that_has_ended_says_so(lightning_command, made, shards, capsys):
    path = made.run / "checkpoints" / "last.ckpt"
    lightning_command("fit", *with_data(shards), "--ckpt_path", str(path))
    assert "nothing to train" in capsys.readouterr().out


@pytest.mark.parametrize("subcommand", ["validate", "test"])
def test_validate_and_test_read_a_checkpoint(lightning_command, made, shards, subcommand):
    trained = made.run
    scores = json.loads((trained / "results.json").read_text())["metrics"]
    folder = lightning_command(
        subcommand, *with_data(shards), "--ckpt_path", str(trained / "checkpoints" / "last.ckpt")
    )
    stage = {"validate": "val", "test": "test"}[subcommand]
    again = json.loads((folder / "results.json").read_text())["metrics"]
    assert again[f"{stage}/loss"] == pytest.approx(scores["val/loss"], rel=1e-6)


def test_predict_is_refused_with_a_sentence(shards, tmp_path, capsys):
    with pytest.warns(UserWarning, match="untrained"):
        said = sentence(capsys, tmp_path, "predict", *with_data(shards))
    assert "predict" in said


def test_checkpoint_of_the_other_head_is_refused(made, shards, tmp_path, capsys):
    said = sentence(
        capsys, tmp_path, "validate", *with_data(shards), "--model.head", "CrossEntropyHead",
        "--ckpt_path", str(made.run / "checkpoints" / "last.ckpt"),
    )  # fmt: skip
    assert "CrossEntropyHead" in said and "HarmonicHead" in said


def test_check_counts_parameters_tokens_and_steps(shards, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["check", *with_data(shards), "--trainer.default_root_dir", str(tmp_path / "runs")])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    width, rows_of_embedding = 16, 320  # 257 padded
    block = 12 * width * width + 13 * width
    parameters = (rows_of_embedding + 16) * width + block + 2 * width
    assert f"LanguageModel, {parameters:,} parameters" in said
    meta = json.loads((shards / "meta.json").read_text())["splits"]
    assert f"{meta['train']['tokens']:,} for training" in said
    assert f"{meta['val']['tokens']:,} held out" in said
    assert "4 × 16 = 64 tokens a step, 2 windows at a time, 2 times" in said
    per_epoch = (meta["train"]["tokens"] - 1) // 16 // 4
    assert f"{per_epoch} an epoch, 6 in all" in said
    assert not (tmp_path / "runs").exists()


def test_nanogpt_s_files_train_as_they_are(lightning_command, token_folder):
    folder = lightning_command("fit", *with_data(token_folder()))
    assert (folder / "results.json").is_file()


def test_help_describes_every_option_of_model_data_and_network(in_root, capsys):
    for owner, name in (
        ("model", "LanguageModel"), ("data", "OpenWebText"), ("model.network", "GPT2")
    ):  # fmt: skip
        with pytest.raises(SystemExit):
            main(["fit", "--model", "LanguageModel", f"--{owner}.help", name])
        options = capsys.readouterr().out.split(f"\n  --{owner.rpartition('.')[2]}.")[1:]
        assert len(options) > 5
        for option in options:
            text = option.partition("(type:")[0].split()
            if text[0].endswith(".help"):  # jsonargparse's own
                continue
            words = [word for word in text[1:] if word.lower() == word and "--" not in word]
            assert len(words) >= 2, f"{text} describes nothing"
