"""`lightning prepare`, `check`, `fit` and `validate` for a language model, as a user meets them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import shutil
import socket
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml

from glassbox.cli.main import main
from tests.helpers.language_model_command import error_line, prepare, with_data, write_texts
from tests.helpers.paths import ROOT


class Made(NamedTuple):
    corpus: Path
    shards: Path
    run: Path
    prepared: str  # what `prepare` printed
    out: str
    err: str


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    """Sixty documents, their tokens by `lightning prepare`, and a run of `lightning fit`."""
    folder = tmp_path_factory.mktemp("made")
    texts, shards = write_texts(folder / "texts"), folder / "tokens"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(ROOT), redirect_stdout(out), redirect_stderr(err):
        prepare(shards, texts)
        prepared = out.getvalue()
        main(["fit", *with_data(shards), "--trainer.default_root_dir", str(folder / "runs")])
    (run,) = folder.glob("runs/*/*")
    return Made(texts, shards, run, prepared, out.getvalue(), err.getvalue())


@pytest.fixture
def shards(made, in_root) -> Path:
    return made.shards


def rows(folder: Path) -> list[dict[str, float]]:
    with open(folder / "metrics.csv") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def metrics(folder: Path) -> dict[str, list[float]]:
    return json.loads((folder / "results.json").read_text())["metrics"]


def stored(folder: Path) -> dict:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


# ---- prepare -------------------------------------------------------------------------------------


def test_prepare_writes_shards_and_reports_them(made):
    meta = json.loads((made.shards / "meta.json").read_text())
    tokens = {split: part["tokens"] for split, part in meta["splits"].items()}
    assert meta["tokenizer"] == "bytes" and tokens["train"] > tokens["val"] > 16
    assert "60 documents" in made.prepared and f"{tokens['train']:,} tokens" in made.prepared


def test_prepare_has_nothing_to_do_a_second_time_and_leaves_no_run(made, shards, tmp_path, capsys):
    prepare(shards, made.corpus, "--trainer.default_root_dir", str(tmp_path / "runs"))
    assert "nothing to do" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


def test_prepare_without_network_or_cache_fails_at_once_and_names_the_remedy(
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
    line = error_line(
        capsys, "prepare", *with_data(tmp_path / "t"),
        "--data.files", f"{made.corpus}/*.jsonl", "--data.tokenizer", "gpt2",
    )  # fmt: skip
    assert "'gpt2'" in line and "TIKTOKEN_CACHE_DIR" in line and "bytes" in line
    assert len(tried) == 1  # no retries


# ---- fit, validate, check ------------------------------------------------------------------------


def test_fit_leaves_its_losses_in_results_and_metrics(made):
    assert made.run.parent.name == "gpt2_cpu"
    values = metrics(made.run)
    for name in ("train/loss", "val/loss", "val/perplexity"):
        assert len(values[name]) == 1 and math.isfinite(values[name][0])
    assert values["val/perplexity"][0] == pytest.approx(math.exp(values["val/loss"][0]), rel=1e-4)
    assert values["val/loss"][0] < math.log(257)  # chance
    logged = rows(made.run)
    assert [row["step"] for row in logged if "train/loss" in row] == [2, 4, 6]
    validations = [row for row in logged if "val/loss" in row]
    assert [row["step"] for row in validations] == [3, 6]
    assert validations[-1]["val/loss"] == pytest.approx(values["val/loss"][0])
    with open(made.run / "metrics.csv") as file:
        assert all(row["step"].isdigit() for row in csv.DictReader(file))
    kept = {path.name for path in (made.run / "checkpoints").iterdir()}
    assert kept == {"last.ckpt", "previous.ckpt"}
    assert stored(made.run)["global_step"] == 6


def test_the_terminal_shows_progress_in_steps_and_a_closing_table(made):
    for name in ("train/loss", "val/loss", "val/perplexity", "optimizer steps per second"):
        assert name in made.out
    assert "6/6" in made.err and "step" in made.err and "epoch" not in made.err
    assert "train loss=" in made.err and "val loss=" in made.err


def test_the_control_differs_from_the_config_in_the_head_alone(lightning_command, made, shards):
    control = lightning_command("fit", *with_data(shards), "--model.head", "CrossEntropyHead")
    configs = [yaml.safe_load((run / "config.yaml").read_text()) for run in (made.run, control)]
    heads = [config["model"]["init_args"].pop("head") for config in configs]
    names = [head["class_path"].rpartition(".")[2] for head in heads]
    assert names == ["HarmonicHead", "CrossEntropyHead"]
    for config in configs:
        del config["trainer"]["default_root_dir"]
    assert configs[0] == configs[1]
    assert stored(made.run)["state_dict"].keys() == stored(control)["state_dict"].keys()


def test_saved_config_repeats_the_run_exactly(lightning_command, made):
    again = lightning_command("fit", "--config", str(made.run / "config.yaml"))
    one, two = (
        {k: v for k, v in metrics(folder).items() if not k.startswith("speed/")}
        for folder in (made.run, again)
    )
    assert one == two and again != made.run


def test_test_reads_a_checkpoint(lightning_command, made, shards):
    checkpoint = str(made.run / "checkpoints" / "last.ckpt")
    folder = lightning_command("test", *with_data(shards), "--ckpt_path", checkpoint)
    assert metrics(folder)["test/loss"] == pytest.approx(metrics(made.run)["val/loss"], 1e-6)


# ---- mistakes ------------------------------------------------------------------------------------


def test_predict_of_a_language_model_is_refused(shards, capsys):
    with pytest.warns(UserWarning, match="untrained"):
        assert "predict" in error_line(capsys, "predict", *with_data(shards))


@pytest.mark.parametrize(
    ("options", "named"),
    [(("--data.tokenizer", "gpt2"), "gpt2"), (("--data.global_batch_size", "100000"), "100000")],
)
def test_an_option_that_does_not_fit_the_data_is_refused(shards, capsys, options, named):
    assert named in error_line(capsys, "fit", *with_data(shards), *options)


def test_a_description_that_contradicts_the_shards_is_refused(shards, tmp_path, capsys):
    shards = shutil.copytree(shards, tmp_path / "changed")
    meta = json.loads((shards / "meta.json").read_text())
    meta["splits"]["train"]["shards"][0]["tokens"] = 5
    (shards / "meta.json").write_text(json.dumps(meta))
    error_line(capsys, "fit", *with_data(shards))
