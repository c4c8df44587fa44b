"""OpenWebText: token shards as a data module, and what it refuses before training starts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import lightning as L
import numpy as np
import pytest

from datamodules import OpenWebText
from datamodules.documents.sources import FileDocuments
from datamodules.tokens.prepare import prepare
from datamodules.tokens.tokenizers import ByteTokenizer


@pytest.fixture
def prepared(tmp_path) -> Path:
    """A folder that was prepared from 60 documents with the tokenizer of bytes."""
    texts = tmp_path / "texts.jsonl"
    lines = [json.dumps({"text": f"document {i} speaks of {i * i} things"}) for i in range(60)]
    texts.write_text("\n".join(lines))
    prepare(FileDocuments(str(texts)), tmp_path / "shards", ByteTokenizer(), 0.2, progress=False)
    return tmp_path / "shards"


def data(folder, **options) -> OpenWebText:
    sizes = {"block_size": 16, "global_batch_size": 4, "micro_batch_size": 2}
    return OpenWebText(str(folder), **{"tokenizer": "bytes", **sizes, **options})


def trainer(**options) -> L.Trainer:
    return L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **options)


def set_up(module: OpenWebText, stage: str = "fit", **options) -> L.Trainer:
    module.trainer = trainer(**options)
    module.prepare_data()
    module.setup(stage)
    return module.trainer


def refusal(module: OpenWebText, **options) -> str:
    with pytest.raises(ValueError) as error:
        set_up(module, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- what the model and the trainer are told -------------------------------------------------


def test_vocabulary_is_that_of_the_tokenizer_and_the_longest_context_a_window(prepared):
    module = data(prepared)
    assert (module.vocab_size, module.context_length) == (257, 16)


def test_vocabulary_is_known_without_loading_the_tokenizer(prepared, monkeypatch):
    def fails(name: str):
        raise AssertionError("loaded")

    monkeypatch.setattr("datamodules.openwebtext.load_tokenizer", fails)
    assert data(prepared).vocab_size == 257


def test_nanogpt_s_shards_have_gpt2_s_vocabulary_without_loading_a_tokenizer(
    token_folder, monkeypatch
):
    def fails(name: str):
        raise AssertionError("loaded")

    monkeypatch.setattr("datamodules.openwebtext.load_tokenizer", fails)
    assert data(token_folder(), tokenizer="gpt2").vocab_size == 50257


def test_nanogpt_s_shards_have_the_vocabulary_of_the_tokenizer_that_is_named(token_folder):
    assert data(token_folder()).vocab_size == 257


@pytest.mark.parametrize(("global_batch", "micro", "times"), [(4, 4, 1), (4, 2, 2), (12, 2, 6)])
def test_trainer_accumulates_up_to_the_global_batch(token_folder, global_batch, micro, times):
    module = data(token_folder(), global_batch_size=global_batch, micro_batch_size=micro)
    assert set_up(module).accumulate_grad_batches == times


def test_interval_of_validation_in_steps_is_told_in_micro_batches_as_lightning_counts(token_folder):
    module = data(token_folder())
    assert set_up(module, val_check_interval=3).val_check_interval == 6
    module.setup("fit")
    assert module.trainer.val_check_interval == 6  # and not again


def test_interval_of_validation_is_in_steps_for_a_second_trainer_too(token_folder):
    module = data(token_folder())
    for _ in range(2):
        assert set_up(module, val_check_interval=3).val_check_interval == 6


def test_interval_of_validation_that_is_a_share_of_the_epoch_stays(token_folder):
    assert set_up(data(token_folder()), val_check_interval=0.5).val_check_interval == 0.5


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_evaluation_leaves_the_trainer_as_it_is(token_folder, stage):
    module = data(token_folder(), micro_batch_size=3)  # which does not divide
    found = set_up(module, stage, val_check_interval=3)
    assert (found.accumulate_grad_batches, found.val_check_interval) == (1, 3)
    windows = [len(batch["inputs"]) for batch in module.test_dataloader()]
    assert windows == [3, 3, 1]


def test_an_epoch_has_as_many_steps_as_whole_global_batches(token_folder):
    module = data(token_folder(train=22))
    set_up(module)
    assert module.steps_per_epoch == 5
    assert len(module.train_dataloader()) == 10  # micro-batches


@pytest.mark.parametrize(("val_windows", "windows"), [(None, 7), (3, 3), (100, 7)])
def test_validation_is_the_whole_held_out_set_or_so_many_windows(
    token_folder, val_windows, windows
):
    module = data(token_folder(), val_windows=val_windows)
    set_up(module)
    assert module.val_windows == windows
    assert sum(len(batch["inputs"]) for batch in module.val_dataloader()) == windows


def test_order_is_that_of_the_run_s_seed_unless_it_has_its_own(token_folder, monkeypatch):
    folder = token_folder()

    def first(run_seed: str, seed: int | None) -> list[int]:
        monkeypatch.setenv("PL_GLOBAL_SEED", run_seed)
        module = data(folder, seed=seed)
        set_up(module)
        return next(iter(module.train_dataloader()))["inputs"].flatten().tolist()

    assert first("1", None) == first("1", None) == first("2", 1) != first("2", None)


def test_a_loader_works_without_a_trainer(token_folder):
    module = data(token_folder())
    module.setup()
    assert next(iter(module.train_dataloader()))["inputs"].shape == (2, 16)
    assert len(list(module.val_dataloader())) == 4


def test_description_tells_tokens_and_batch(token_folder):
    module = data(token_folder(), val_windows=3)
    set_up(module)
    said = module.describe()
    assert said["tokens"] == "361 for training, 121 held out, 3 windows validated on"
    assert said["batch"] == "4 × 16 = 64 tokens a step, 2 windows at a time, 2 times"


# ---- what is refused -------------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_refused_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(ValueError, match=r"no folder .*nowhere.*lightning prepare"):
        _ = data(tmp_path / "nowhere").vocab_size


def test_an_empty_folder_is_refused_with_the_command_that_fills_it(tmp_path):
    assert "lightning prepare" in refusal(data(tmp_path))


def test_another_tokenizer_than_that_of_the_shards_is_refused(prepared):
    said = refusal(data(prepared, tokenizer="gpt2"))
    assert "tokenizer 'bytes'" in said and "data.tokenizer is 'gpt2'" in said


def test_a_training_set_without_a_global_batch_is_refused(token_folder):
    said = refusal(data(token_folder(train=3)))
    assert "training set" in said and "3 windows" in said and "4 are needed" in said


def test_a_held_out_set_shorter_than_a_window_is_refused(token_folder):
    folder = token_folder()
    np.zeros(16, "<u2").tofile(folder / "val.bin")  # one token short of a window
    said = refusal(data(folder))
    assert "validation set" in said and "16 tokens" in said and "lower data.block_size" in said


@pytest.mark.parametrize("devices", [1, 2])
def test_a_global_batch_that_does_not_divide_is_refused_with_sizes_that_do(token_folder, devices):
    module = data(token_folder(), global_batch_size=8, micro_batch_size=3)
    said = refusal(module, devices=devices, strategy="ddp" if devices > 1 else "auto")
    assert said.endswith("1, 2, 4, 8" if devices == 1 else "1, 2, 4")


def test_fewer_held_out_windows_than_ranks_are_refused(token_folder):
    # A rank without a batch would not come to the end of the validation, where the others wait.
    said = refusal(data(token_folder(val=1)), devices=2, strategy="ddp")
    assert "validation" in said and "2 are needed" in said
    said = refusal(data(token_folder(name="more"), val_windows=1), devices=2, strategy="ddp")
    assert "val_windows" in said


def test_accumulation_that_contradicts_the_global_batch_is_refused(token_folder):
    said = refusal(data(token_folder()), accumulate_grad_batches=3)
    assert "accumulate_grad_batches is 3" in said and "asks for 2" in said


def test_a_limit_that_would_end_within_a_step_is_refused(token_folder):
    said = refusal(data(token_folder()), limit_train_batches=3, max_steps=9)
    assert "limit_train_batches is 3" in said and "multiple of 2" in said


def test_a_limit_of_epochs_and_of_their_batches_is_refused(token_folder):
    said = refusal(data(token_folder()), limit_train_batches=0.5, max_epochs=2)
    assert "limit_train_batches is 0.5" in said and "set trainer.max_steps" in said


def test_ids_that_the_vocabulary_has_not_are_refused_before_training(token_folder):
    folder = token_folder()
    ids = np.fromfile(folder / "train.bin", "<u2")
    ids[77] = 300
    ids.tofile(folder / "train.bin")
    said = refusal(data(folder))
    assert "300" in said and "token 77" in said and "257" in said


def test_a_shard_of_half_a_token_is_refused(token_folder):
    folder = token_folder()
    with (folder / "train.bin").open("ab") as file:
        file.write(b"\0")
    assert "multiple of 2" in refusal(data(folder))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda meta: meta["splits"]["train"]["shards"][0].update(tokens=5), "add up"),
        (lambda meta: meta.update(vocab_size=10), "largest id"),
        (lambda meta: meta.update(dtype="uint32"), "bytes and should have"),
    ],
)
def test_a_description_that_contradicts_the_shards_is_refused(prepared, change, part):
    meta = json.loads((prepared / "meta.json").read_text())
    change(meta)
    (prepared / "meta.json").write_text(json.dumps(meta))
    assert part in refusal(data(prepared))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"block_size": 0}, "block_size is 0"),
        ({"global_batch_size": 0}, "global_batch_size is 0"),
        ({"micro_batch_size": -1}, "micro_batch_size is -1"),
        ({"val_windows": 0}, "val_windows is 0"),
        ({"val_fraction": 1.0}, "val_fraction is 1.0"),
        ({"val_fraction": float("nan")}, "val_fraction is nan"),
        pytest.param(
            {"seed": -1},
            "seed is -1",
        ),
    ],
)
def test_a_number_out_of_range_is_refused(tmp_path, options, part):
    with pytest.raises(ValueError, match=re.escape(part)):
        data(tmp_path, **options)


# ---- text to tokens --------------------------------------------------------------------------


def test_preparation_makes_the_shards_that_training_reads(tmp_path):
    (tmp_path / "text.jsonl").write_text(
        "\n".join(json.dumps({"body": f"text number {i}, and some more"}) for i in range(40))
    )
    module = data(
        tmp_path / "made", files=str(tmp_path / "*.jsonl"), text_field="body", val_fraction=0.25
    )
    summary = module.prepare()
    assert summary.documents == 40 and summary.val_documents > 0
    set_up(module)
    assert module.train_shards.num_tokens == summary.train_tokens
    assert module.train_shards.meta.tokenizer == "bytes"
