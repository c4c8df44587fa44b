"""`lightning ...` of a tiny language model: its arguments, its shards, and its errors."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from glassbox.cli.main import main

CONFIG = ("--config", "configs/gpt2/gpt2_cpu.yaml")
TINY = (
    "--data.tokenizer", "bytes", "--data.block_size", "16", "--data.val_fraction", "0.2",
    "--data.global_batch_size", "4", "--data.micro_batch_size", "2",
    "--model.network.num_layers", "1", "--model.network.num_heads", "1",
    "--model.network.width", "16", "--model.learning_rate", "1e-2", "--model.warmup_steps", "2",
    "--trainer.max_steps", "6", "--trainer.val_check_interval", "3",
    "--trainer.log_every_n_steps", "2", "--trainer.precision", "32-true",
    "--checkpoint.every_n_steps", "4", "--trainer.callbacks", "[{class_path: Speed}]",
)  # fmt: skip


def with_data(folder: Path, *arguments: str) -> tuple[str, ...]:
    """The arguments of a tiny run on the tokens of a folder."""
    return (*CONFIG, *TINY, "--data.data_dir", str(folder), *arguments)


def write_texts(folder: Path) -> Path:
    """Sixty documents in a new folder; returns it."""
    folder.mkdir()
    lines = [json.dumps({"text": f"text {i} is about {i % 7} and {i % 5}"}) for i in range(60)]
    (folder / "some.jsonl").write_text("\n".join(lines))
    return folder


def prepare(folder: Path, corpus: Path, *arguments: str) -> None:
    """Write the tokens of a corpus by `lightning prepare`."""
    main([
        "prepare", *CONFIG, *TINY, "--data.data_dir", str(folder),
        "--data.files", f"{corpus}/*.jsonl", *arguments,
    ])  # fmt: skip


def error_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The line that `lightning ...` fails with, exit code 2; no results are written."""
    with tempfile.TemporaryDirectory() as root:
        with pytest.raises(SystemExit) as stop:
            main([*arguments, "--trainer.default_root_dir", root])
        assert stop.value.code == 2
        assert not list(Path(root).glob("*/*/results.json"))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line
