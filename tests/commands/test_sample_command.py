"""`lightning sample`, and a run that writes samples, as a user meets them."""

from __future__ import annotations

import contextlib
import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from glassbox.cli.checkpoints import LoadedModel, load_language_model
from glassbox.cli.commands.sample import sample
from glassbox.cli.main import main
from tests.helpers.language_model_command import write_texts
from tests.helpers.paths import ROOT

OPTIONS = (
    "--config", "configs/gpt2/gpt2_cpu.yaml",
    "--data.tokenizer", "bytes", "--data.block_size", "16",
    "--data.val_fraction", "0.2", "--data.global_batch_size", "4", "--data.micro_batch_size", "2",
    "--model.network.num_layers", "1", "--model.network.num_heads", "1",
    "--model.network.width", "16", "--model.learning_rate", "1e-2", "--model.warmup_steps", "2",
    "--trainer.max_steps", "4", "--trainer.val_check_interval", "2",
    "--trainer.callbacks",
    "[{class_path: TextSamples, init_args: {prompts: [text, ''], num_generated: 10}}]",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a short run with samples."""
    folder = tmp_path_factory.mktemp("sampled")
    texts = write_texts(folder / "texts")
    data = ("--data.data_dir", str(folder / "tokens"))
    out = io.StringIO()
    with contextlib.chdir(ROOT), redirect_stdout(out), redirect_stderr(out):
        main(["prepare", *OPTIONS, *data, "--data.files", str(texts / "some.jsonl")])
        main(["fit", *OPTIONS, *data, "--trainer.default_root_dir", str(folder / "runs")])
    (made,) = folder.glob("runs/*/*")
    return made


def checkpoint(run: Path) -> str:
    return str(run / "checkpoints" / "last.ckpt")


def sampled(capsys, run: Path, *arguments: str) -> str:
    main(["sample", checkpoint(run), *arguments])
    return capsys.readouterr().out


def test_it_prints_the_prompt_and_what_the_model_writes_behind_it(capsys, run):
    text = sampled(capsys, run, "--prompt", "text 5", "--num_generated", "30")
    model, tokenizer = load_language_model(checkpoint(run))
    assert tokenizer == "bytes"
    prompt = list(b"text 5")
    options = {"temperature": 0.8, "top_k": 200, "seed": 0, "stop_token": 256}
    (row,) = model.generate(torch.tensor([prompt]), 30, **options).tolist()
    new = row[6:]
    new = new[: new.index(256)] if 256 in new else new
    assert text == "text 5" + bytes(new).decode(errors="replace") + "\n"
    assert len(new) > 5


def test_several_samples_stand_below_headings(capsys, run):
    text = sampled(capsys, run, "--prompt", "te", "--num_samples", "3", "--num_generated", "40")
    parts = text.split("=== sample ")
    assert parts[0] == "" and len(parts) == 4
    bodies = set()
    for i, part in enumerate(parts[1:], 1):
        heading, _, body = part.partition("\n")
        assert heading == f"{i} of 3 ===" and body.startswith("te")
        bodies.add(body.rstrip("\n"))
    assert len(bodies) == 3


def test_a_run_with_text_samples_appends_them_to_a_file(run):
    text = (run / "samples.txt").read_text()
    assert text.count("=== step ") == 2 and "=== step 2 ===" in text and "=== step 4 ===" in text
    assert text.count("--- prompt 'text'\ntext") == 2 and text.count("--- prompt ''\n") == 2


# ---- where a text begins and ends ----------------------------------------------------------------


class Letters:
    """A tokenizer of single letters."""

    vocab_size, end_of_text = 30, 29

    def encode_batch(self, texts):
        return [np.array([ord(letter) - ord("a") for letter in text]) for text in texts]

    def decode(self, ids):
        return "".join("<end>" if i == self.end_of_text else chr(i + ord("a")) for i in ids)


class Fixed:
    """A model that continues every prompt with the same tokens."""

    head = SimpleNamespace(num_classes=30)

    def generate(self, tokens, num_new, **options):
        self.given, self.options = tokens, options
        new = torch.tensor((1, 2, 29, 29)[:num_new]).expand(len(tokens), -1)
        return torch.cat([tokens, new], dim=1)


def call(model: Fixed, **options):
    with pytest.MonkeyPatch.context() as patch:
        loaded = LoadedModel(model, "letters")
        patch.setattr(f"{sample.__module__}.load_language_model", lambda path: loaded)
        patch.setattr("glassbox.cli.checkpoints.load_tokenizer", lambda name: Letters())
        return sample("some.ckpt", **options)


def test_a_text_ends_where_the_model_ends_it():
    model = Fixed()
    assert call(model, prompt="aa", num_generated=4) == "aabc"
    assert model.options["stop_token"] == 29
    assert call(Fixed(), prompt="aa", num_generated=2) == "aabc"


def test_an_empty_prompt_begins_behind_the_end_of_text_token_which_is_not_shown():
    model = Fixed()
    assert call(model, prompt="", num_generated=4, num_samples=2).count("bc") == 2
    assert model.given.tolist() == [[29], [29]]
    assert "<end>" not in call(Fixed(), prompt="", num_generated=4)


@pytest.mark.parametrize(
    ("option", "value"),
    [("temperature", -1.0), ("top_k", 0), ("num_generated", 0), ("num_samples", 0), ("seed", -1)],
)
def test_an_option_out_of_range_is_refused_before_the_checkpoint_is_read(option, value):
    with pytest.raises(ValueError, match=option):
        sample("nowhere.ckpt", **{option: value})
