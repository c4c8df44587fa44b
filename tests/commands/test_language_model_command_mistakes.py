"""Mistakes with a language model on the command line: one sentence for every one."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from glassbox.cli.main import main
from tests.helpers.language_model_command import prepare, sentence, with_data, write_texts
from tests.helpers.paths import ROOT


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """Tokens of sixty documents by `lightning prepare`."""
    folder = tmp_path_factory.mktemp("prepared")
    with contextlib.chdir(ROOT):
        prepare(folder / "tokens", write_texts(folder / "texts"))
    return folder / "tokens"


@pytest.fixture
def shards(prepared, in_root) -> Path:
    return prepared


def test_no_shards_yet_gets_one_sentence_with_the_command_that_makes_them(
    in_root, tmp_path, capsys
):
    said = sentence(capsys, tmp_path, "fit", *with_data(tmp_path / "nowhere"))
    assert "nowhere" in said and "lightning prepare" in said


def test_a_shard_of_half_a_token_gets_one_sentence(in_root, token_folder, tmp_path, capsys):
    folder = token_folder()
    with (folder / "train.bin").open("ab") as file:
        file.write(b"\0")
    said = sentence(capsys, tmp_path, "fit", *with_data(folder))
    assert "train.bin" in said and "multiple of 2" in said


def test_an_id_that_the_vocabulary_has_not_gets_one_sentence(
    in_root, token_folder, tmp_path, capsys
):
    folder = token_folder()
    ids = np.fromfile(folder / "val.bin", "<u2")
    ids[5] = 60000
    ids.tofile(folder / "val.bin")
    said = sentence(capsys, tmp_path, "fit", *with_data(folder))
    assert "val.bin" in said and "60000" in said and "257" in said


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda meta: meta["splits"]["train"]["shards"][0].update(tokens=5), "sum"),
        (lambda meta: meta.update(vocab_size=10), "largest id"),
        (lambda meta: meta.update(dtype="uint32"), "bytes"),
        (lambda meta: meta.pop("vocab_size"), "vocab_size"),
    ],
)
def test_a_description_that_contradicts_the_shards_gets_one_sentence(
    shards, tmp_path, capsys, change, part
):
    shards = shutil.copytree(shards, tmp_path / "changed")
    meta = json.loads((shards / "meta.json").read_text())
    change(meta)
    (shards / "meta.json").write_text(json.dumps(meta))
    assert part in sentence(capsys, tmp_path, "fit", *with_data(shards))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--data.block_size", "100000"), ["'val'", "data.block_size"]),
        (("--data.global_batch_size", "100000"), ["'train'", "100000"]),
        (("--data.micro_batch_size", "3"), ["global_batch_size (4)", "1, 2, 4"]),
        (("--data.micro_batch_size", "0"), ["micro_batch_size is 0"]),
        (("--data.tokenizer", "gpt2"), ["data.tokenizer is 'gpt2'", "'bytes'"]),
        (("--model.network.preset", "17M"), ["model.network.preset is '17M'", "16M"]),
        (("--model.network.num_layer", "1"), ["GPT2 has no option 'num_layer'", "'num_layers'"]),
        (("--model.network.width", "15", "--model.network.num_heads", "2"),
         ["width is 15", "num_heads 2"]),
        (("--model.feature_scale_init", "cold"), ["model.feature_scale_init is 'cold'", "matched"]),
        (("--model.warmup_steps", "-1"), ["warmup_steps is -1"]),
        (("--model.decay_steps", "1"), ["decay_steps 1"]),
        (("--model.network", "MLP"), ["MLP"]),
        (("--trainer.max_steps", "-1", "--trainer.max_epochs", "-1"), ["model.decay_steps"]),
        (("--trainer.accumulate_grad_batches", "3"), ["accumulate_grad_batches is 3"]),
        (("--trainer.gradient_clip_algorithm", "value"), ["gradient_clip_algorithm is value"]),
        (("--data", "OpenWebTxt"), ["did you mean 'OpenWebText'"]),
        (("--model", "LanguageModl"), ["did you mean 'LanguageModel'"]),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_sentence(shards, tmp_path, capsys, arguments, parts):
    said = sentence(capsys, tmp_path, "fit", *with_data(shards), *arguments)
    for part in parts:
        assert part in said


def test_a_misspelt_key_of_the_network_in_a_config_gets_one_sentence(shards, tmp_path, capsys):
    text = Path("configs/gpt2/gpt2_cpu.yaml").read_text()
    assert "preset: 16M" in text
    (tmp_path / "run.yaml").write_text(text.replace("preset: 16M", "presett: 16M"))
    said = sentence(capsys, tmp_path, "fit", "--config", str(tmp_path / "run.yaml"))
    assert "GPT2 has no option 'presett'" in said and "did you mean 'preset'" in said
    assert "run.yaml" in said


def test_a_learning_rate_that_is_far_too_large_stops_the_run_with_one_sentence(
    shards, tmp_path, capsys
):
    with pytest.raises(SystemExit) as stop:
        main([
            "fit", *with_data(shards), "--model.learning_rate", "1e30", "--model.clip_norm", "null",
            "--trainer.default_root_dir", str(tmp_path / "runs"), "--trainer.max_steps", "20",
        ])  # fmt: skip
    assert stop.value.code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and "NaN or infinite at optimizer step" in said[0]
    assert not list((tmp_path / "runs").glob("*/*/results.json"))
