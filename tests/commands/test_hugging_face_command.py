"""`lightning export` and `model.init_from` as a user meets them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from glassbox.cli.main import main

transformers = pytest.importorskip("transformers")

BLOCK = 16
TINY = (
    "--config", "configs/gpt2/gpt2_cpu.yaml", "--data.tokenizer", "bytes",
    "--data.block_size", str(BLOCK), "--data.global_batch_size", "4",
    "--data.micro_batch_size", "4", "--model.network.num_layers", "2",
    "--model.network.num_heads", "2", "--model.network.width", "16", "--model.learning_rate",
    "1e-2", "--model.warmup_steps", "1", "--trainer.max_steps", "3",
    "--trainer.val_check_interval", "3", "--trainer.precision", "32-true",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path) -> Path:
    """A random GPT-2 that transformers wrote."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=257, n_positions=32, n_embd=16, n_layer=2, n_head=2,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
    model.save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


def said_in_error(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main([*arguments])
    assert stop.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def val_loss(run: Path) -> float:
    return json.loads((run / "results.json").read_text())["metrics"]["val/loss"][0]


def test_validate_gives_imported_weights_the_loss_that_transformers_gives_them(
    lightning_command, token_folder, folder
):
    data = token_folder()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        run = lightning_command(
            "validate", *TINY, "--data.data_dir", str(data), "--model.head", "CrossEntropyHead",
            "--model.init_from", str(folder),
        )  # fmt: skip
    theirs = transformers.GPT2LMHeadModel.from_pretrained(folder)
    ids = torch.from_numpy(np.fromfile(data / "val.bin", "<u2").astype(np.int64))
    losses = []
    for start in range(0, len(ids) - BLOCK, BLOCK):
        window = ids[None, start : start + BLOCK + 1]
        losses.append(theirs(window, labels=window).loss.item())
    assert len(losses) == 7
    assert val_loss(run) == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("head", ["CrossEntropyHead", "HarmonicHead"])
def test_a_trained_model_goes_out_and_comes_back(
    lightning_command, token_folder, tmp_path, capsys, head
):
    import lightning_modules.gpt2.transformers_model  # noqa: F401

    data = ("--data.data_dir", str(token_folder()), "--model.head", head)
    run = lightning_command("fit", *TINY, *data)
    checkpoint, out = str(run / "checkpoints" / "last.ckpt"), str(tmp_path / "out")
    main(["export", "--checkpoint", checkpoint, "--output", out, "--tokenizer", "bytes"])
    said = capsys.readouterr().out
    assert "model.safetensors" in said and f"from_pretrained('{out}')" in said
    assert ("lightning_modules.gpt2.transformers_model" in said) is (head == "HarmonicHead")
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    words = transformers.AutoTokenizer.from_pretrained(out)
    inputs = words("some text", return_tensors="pt")
    assert inputs.input_ids.tolist() == [list(b"some text")]
    assert model(**inputs, labels=inputs.input_ids).loss.item() < 7
    again = lightning_command("validate", *TINY, *data, "--model.init_from", out)
    assert val_loss(again) == pytest.approx(val_loss(run), rel=1e-6)


def test_a_resumed_run_needs_the_folder_no_more(lightning_command, token_folder, folder):
    import shutil

    data = ("--data.data_dir", str(token_folder()), "--model.head", "CrossEntropyHead")
    start = ("--model.init_from", str(folder), "--model.decay_steps", "3")
    run = lightning_command("fit", *TINY, *data, *start, "--trainer.max_steps", "2")
    shutil.rmtree(folder)
    checkpoint = str(run / "checkpoints" / "last.ckpt")
    again = lightning_command("fit", *TINY, *data, *start, "--ckpt_path", checkpoint)
    assert torch.load(again / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 3


def test_sample_writes_text_of_a_folder(in_root, folder, capsys):
    main([
        "sample", "--checkpoint", str(folder), "--tokenizer", "bytes", "--prompt", "abc",
        "--num_generated", "5",
    ])  # fmt: skip
    assert capsys.readouterr().out.startswith("abc")


def test_mistakes_get_one_sentence(in_root, token_folder, folder, tmp_path, capsys):
    data = ("--data.data_dir", str(token_folder()), "--model.head", "CrossEntropyHead")
    check = ("check", *TINY, *data, "--model.init_from")
    said = said_in_error(capsys, *check, str(folder), "--model.network.width", "32")
    assert "width 16" in said and "width 32" in said
    assert "positions" in said_in_error(capsys, *check, str(folder), "--data.block_size", "40")
    assert "config.json" in said_in_error(capsys, *check, str(tmp_path))
    (folder / "model.safetensors").write_bytes(b"broken")
    assert "model.safetensors" in said_in_error(capsys, *check, str(folder))
    export = ("export", "--output", str(tmp_path / "out"), "--checkpoint")
    assert "there is no checkpoint no.ckpt" in said_in_error(capsys, *export, "no.ckpt")
    assert "model.safetensors" in said_in_error(capsys, *export, str(folder))
    assert not (tmp_path / "out").exists()
