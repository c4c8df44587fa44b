"""OpenWebText: sizes, the accumulation of the trainer, and errors before training."""

from __future__ import annotations

import json
from pathlib import Path

import lightning as L
import numpy as np
import pytest

from datamodules import OpenWebText
from datamodules.documents.sources import FileDocuments
from datamodules.tokens.prepare import prepare
from datamodules.tokens.tokenizers import ByteTokenizer
from tests.helpers.planted_words import text_trainer


@pytest.fixture(scope="module")
def bytes_folder(tmp_path_factory) -> Path:
    """A folder prepared from 60 documents with the tokenizer of bytes."""
    folder = tmp_path_factory.mktemp("prepared")
    lines = [json.dumps({"text": f"document {i} speaks of {i * i} things"}) for i in range(60)]
    (folder / "texts.jsonl").write_text("\n".join(lines))
    prepare(FileDocuments(str(folder / "texts.jsonl")), folder / "shards", ByteTokenizer(), 0.2)
    return folder / "shards"


def data(folder, **options) -> OpenWebText:
    sizes = {"block_size": 16, "global_batch_size": 4, "micro_batch_size": 2}
    return OpenWebText(str(folder), **{"tokenizer": "bytes", **sizes, **options})


def set_up(module: OpenWebText, stage: str = "fit", trainer=None, **options) -> L.Trainer:
    module.trainer = trainer or text_trainer(**{"max_epochs": None, **options})
    module.prepare_data()
    module.setup(stage)
    return module.trainer


def message(module: OpenWebText, **options) -> str:
    with pytest.raises(ValueError) as error:
        set_up(module, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- sizes -----------------------------------------------------------------------------------


def test_sizes_are_those_of_the_shards_without_loading_a_tokenizer(
    bytes_folder, token_folder, monkeypatch
):
    assert data(token_folder()).vocab_size == 257  # nanoGPT's shards, of another tokenizer

    def fails(name: str):
        raise AssertionError("loaded")

    monkeypatch.setattr("datamodules.openwebtext.load_tokenizer", fails)
    module = data(bytes_folder)
    assert (module.vocab_size, module.context_length) == (257, 16)
    assert data(token_folder(name="nanogpt"), tokenizer="gpt2").vocab_size == 50257


def test_an_epoch_has_as_many_steps_as_whole_global_batches(token_folder):
    module = data(token_folder(train=22))
    set_up(module)
    assert module.steps_per_epoch == 5
    assert len(module.train_dataloader()) == 10  # micro-batches


@pytest.mark.parametrize(("val_windows", "num_windows"), [(None, 7), (3, 3), (100, 7)])
def test_validation_uses_all_held_out_windows_or_fewer(token_folder, val_windows, num_windows):
    module = data(token_folder(), val_windows=val_windows)
    set_up(module)
    assert module.num_val_windows == num_windows
    assert sum(len(batch["inputs"]) for batch in module.val_dataloader()) == num_windows


def test_the_order_depends_on_the_run_s_seed_unless_there_is_an_own_one(token_folder, monkeypatch):
    folder = token_folder()

    def first(run_seed: str, seed: int | None) -> list[int]:
        monkeypatch.setenv("PL_GLOBAL_SEED", run_seed)
        module = data(folder, seed=seed)
        set_up(module)
        return next(iter(module.train_dataloader()))["inputs"].flatten().tolist()

    assert first("1", None) == first("1", None) == first("2", 1) != first("2", None)


def test_loaders_work_without_a_trainer(token_folder):
    module = data(token_folder())
    module.setup()
    assert next(iter(module.train_dataloader()))["inputs"].shape == (2, 16)
    assert len(list(module.val_dataloader())) == 4


# ---- the trainer -----------------------------------------------------------------------------


@pytest.mark.parametrize(("global_batch", "micro", "times"), [(4, 4, 1), (4, 2, 2), (12, 2, 6)])
def test_the_trainer_accumulates_up_to_the_global_batch(token_folder, global_batch, micro, times):
    module = data(token_folder(), global_batch_size=global_batch, micro_batch_size=micro)
    assert set_up(module).accumulate_grad_batches == times


def test_val_check_interval_is_converted_from_steps_to_micro_batches_once(token_folder):
    folder = token_folder()
    module, other = data(folder), data(folder)
    trainer = set_up(module, val_check_interval=3)
    for again in (module, other):  # a second fit, and a second data module
        set_up(again, trainer=trainer)
        assert trainer.val_check_interval == 6
    assert set_up(module, val_check_interval=3).val_check_interval == 6  # another trainer
    assert set_up(module, val_check_interval=0.5).val_check_interval == 0.5


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_evaluation_needs_no_training_split_and_leaves_the_trainer_unchanged(token_folder, stage):
    folder = token_folder()
    (folder / "train.bin").unlink()
    module = data(folder, micro_batch_size=3)  # does not divide the global batch
    trainer = text_trainer(val_check_interval=3)
    seen: list[int] = []

    class Counting(L.LightningModule):
        def validation_step(self, batch, batch_idx):
            seen.append(len(batch["inputs"]))

        test_step = validation_step

    getattr(trainer, stage)(Counting(), module, verbose=False)
    assert (trainer.accumulate_grad_batches, trainer.val_check_interval) == (1, 3)
    assert seen == [3, 3, 1]


# ---- errors ----------------------------------------------------------------------------------


def test_a_missing_or_empty_folder_is_an_error_with_the_command_to_run(tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path):
        assert "lightning prepare" in message(data(folder))


def test_another_tokenizer_than_that_of_the_shards_is_an_error(bytes_folder):
    assert "data.tokenizer is 'gpt2'" in message(data(bytes_folder, tokenizer="gpt2"))


def test_too_few_windows_are_an_error(token_folder):
    assert "'train'" in message(data(token_folder(train=3)))
    folder = token_folder(name="short")
    np.zeros(16, "<u2").tofile(folder / "val.bin")  # one token short of a window
    assert "'val'" in message(data(folder))


def test_fewer_held_out_windows_than_ranks_are_an_error(token_folder):
    two = {"devices": 2, "strategy": "ddp"}
    assert "val_windows" in message(data(token_folder(val=1)), **two)
    assert "val_windows" in message(data(token_folder(name="more"), val_windows=1), **two)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("accumulate_grad_batches", {"accumulate_grad_batches": 3}),
        ("limit_train_batches", {"limit_train_batches": 3, "max_steps": 9}),
        ("limit_train_batches", {"limit_train_batches": 0.5, "max_epochs": 2}),
    ],
)
def test_trainer_options_that_contradict_the_global_batch_are_errors(token_folder, name, options):
    assert f"trainer.{name} is {options[name]}" in message(data(token_folder()), **options)


def test_a_global_batch_that_the_devices_do_not_divide_is_an_error(token_folder):
    module = data(token_folder(), global_batch_size=8, micro_batch_size=3)
    assert "global_batch_size" in message(module)
    assert message(module, devices=2, strategy="ddp").endswith("1, 2, 4")


def test_ids_outside_the_vocabulary_are_an_error(token_folder):
    folder = token_folder()
    ids = np.fromfile(folder / "train.bin", "<u2")
    ids[77] = 300
    ids.tofile(folder / "train.bin")
    text = message(data(folder))
    assert "300" in text and "257" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("block_size", 0),
        ("global_batch_size", 0),
        ("micro_batch_size", -1),
        ("val_windows", 0),
        ("workers", 0),
        ("val_fraction", 1.0),
        ("val_fraction", float("nan")),
        ("seed", -1),
    ],
)
def test_options_out_of_range_are_errors(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"^{name} is {value}"):
        data(tmp_path, **{name: value})


# ---- text to tokens --------------------------------------------------------------------------


def test_training_reads_the_shards_that_prepare_writes(tmp_path):
    lines = [json.dumps({"body": f"text number {i}, and some more"}) for i in range(40)]
    (tmp_path / "text.jsonl").write_text("\n".join(lines))
    module = data(
        tmp_path / "made", files=str(tmp_path / "*.jsonl"), text_field="body", val_fraction=0.25
    )
    summary = module.prepare()
    assert summary.documents == 40 and summary.meta.splits["val"].documents > 0
    set_up(module)
    assert module.shards("train").num_tokens == summary.meta.splits["train"].tokens
    assert module.shards("train").meta.tokenizer == "bytes"
