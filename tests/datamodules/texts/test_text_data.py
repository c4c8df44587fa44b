"""Data modules of labeled texts: encoding, resuming, cleaning, errors."""

from __future__ import annotations

import json
import re
import shutil
from functools import partial
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from datamodules import IMDB, SST2
from tests.helpers.planted_words import text_trainer

WORDS = ["a", "fine", "bad", "film", "that", "is", "so", "very", "long", "and", "dull"]
SIZES = (("train", 43), ("dev", 11), ("test", 9))


def rows(count: int, seed: int = 0) -> list[tuple[str, int]]:
    """Random texts of random lengths, of alternating classes."""
    rng = np.random.default_rng(seed)
    return [(" ".join(rng.choice(WORDS, rng.integers(1, 12))), i % 2) for i in range(count)]


def table(path: Path, texts: list[tuple[str, int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("label\tsentence\n" + "".join(f"{label}\t{text}\n" for text, label in texts))


@pytest.fixture
def folder(tmp_path) -> Path:
    for seed, (name, count) in enumerate(SIZES):
        table(tmp_path / "sst" / "sst2" / f"{name}.tsv", rows(count, seed))
    return tmp_path / "sst"


def data(folder: Path, **options) -> SST2:
    return SST2(str(folder), **{"variant": "standard", "batch_size": 8, **options})


make_trainer = partial(text_trainer, max_epochs=None)


def set_up(module, stage: str = "fit", **options) -> None:
    module.trainer = make_trainer(**options)
    module.setup(stage)


# ---- sizes and encoding ----------------------------------------------------------------------


def test_the_vocabulary_is_known_before_setup_and_has_training_words_only(folder):
    with (folder / "sst2" / "test.tsv").open("a") as file:
        file.write("1\tunheard unheard unheard\n")
    module = data(folder)
    words = {word for text, _ in rows(43) for word in text.split()}
    assert module.vocab_size == 2 + len(words)
    batch = module.encode(["unheard film"])
    assert batch["tokens"][0, 0] == module.unknown_token != batch["tokens"][0, 1]


def test_sizes_for_the_model(folder):
    module = data(folder, max_length=5)
    assert (module.context_length, module.num_classes) == (5, 2)
    assert module.class_names == ["negative", "positive"]
    assert module.steps_per_epoch == 6 == len(module.train_dataloader())
    assert max(batch["tokens"].shape[1] for batch in module.train_dataloader()) == 5


@pytest.mark.parametrize("tokenizer", ["words", "bytes"])
def test_encode_agrees_with_the_encoded_data(folder, tokenizer):
    module = data(folder, tokenizer=tokenizer, max_length=9, batch_size=1)
    loaded = [
        (batch["tokens"][0].tolist(), batch["words"][0].tolist())
        for batch in module.test_dataloader()
    ]
    encoded = []
    for text, _ in rows(9, 2):
        batch = module.encode([text])
        assert batch["labels"].tolist() == [-100]
        encoded.append((batch["tokens"][0].tolist(), batch["words"][0].tolist()))
        assert module.split_words(text) == text.split()[: batch["words"].max() + 1]
    assert sorted(loaded) == sorted(encoded)


def test_a_text_without_words_is_one_unknown_word(folder):
    module = data(folder)
    batch = module.encode(["", "film"])
    assert batch["tokens"].shape == (2, 1) and batch["mask"].all()
    assert batch["tokens"][0, 0] == module.unknown_token
    assert module.split_words("") == ["<unk>"]
    with pytest.raises(ValueError, match="texts is empty"):
        module.encode([])


def test_pad_to_max_length_applies_to_every_batch(folder):
    module = data(folder, pad_to="max_length", max_length=20)
    batches = [*module.train_dataloader(), *module.val_dataloader(), module.encode(["a film"])]
    assert {batch["tokens"].shape[1] for batch in batches} == {20}


def test_description_counts_texts_words_and_duplicates(folder):
    train = rows(43)
    table(folder / "sst2" / "test.tsv", [train[0], train[1], ("zyx zyx zyx zyx", 1)])
    module = data(folder)
    lines = module.describe()
    assert lines["texts"].startswith(
        f"43 ({sum(y for _, y in train)} positive) for training, 11 (5"
    )
    distinct = {text for text, _ in train}
    assert module.repeats == {
        "train_in_train": 43 - len(distinct),
        "val_in_train": sum(text in distinct for text, _ in rows(11, 1)),
        "test_in_train": 2,
    }
    tokens = sum(len(text.split()) for text, _ in train[:2])
    assert f"{4 / (4 + tokens):.1%} of the test" in lines["vocabulary"]


def test_fingerprint_depends_on_the_encoded_texts_of_all_parts_alone(folder, tmp_path):
    first = data(folder).fingerprint
    assert re.fullmatch("[0-9a-f]{12}", first)
    shutil.copytree(folder, tmp_path / "elsewhere")
    same = data(tmp_path / "elsewhere", batch_size=3, bucket_batches=0, seed=4, pad_to="max_length")
    assert same.fingerprint == first
    cut, fewer_words = data(folder, max_length=4), data(folder, min_frequency=22)
    fingerprints = {first, cut.fingerprint, fewer_words.fingerprint}
    for seed, (name, count) in enumerate(SIZES):
        path, (*others, (text, label)) = folder / "sst2" / f"{name}.tsv", rows(count, seed)
        for last in ((text, 1 - label), ("dull film", label), (text, label)):
            table(path, [*others, last])
            fingerprints.add(data(folder).fingerprint)
    assert len(fingerprints) == 9


# ---- resuming --------------------------------------------------------------------------------


class Recorder(L.LightningModule):
    """Records its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen: list[list[list[int]]] = []
        self.validated: list[int] = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch["tokens"].tolist())
        return self.layer(batch["labels"].float().view(-1, 1)).mean()

    def validation_step(self, batch, batch_idx):
        self.validated.append(int((batch["labels"] >= 0).sum()))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fitted(module, ckpt_path=None, save=None, **options) -> Recorder:
    recorder, trainer = Recorder(), make_trainer(**options)
    trainer.fit(recorder, datamodule=module, ckpt_path=ckpt_path, weights_only=False)
    if save:
        trainer.save_checkpoint(save)
    return recorder


@pytest.fixture
def checkpoint(folder, tmp_path) -> Path:
    fitted(data(folder), save=tmp_path / "a.ckpt", max_steps=2)
    return tmp_path / "a.ckpt"


@pytest.mark.parametrize("stop", [4, 6, 9])
def test_a_resumed_run_continues_with_the_same_batches(folder, tmp_path, stop):
    whole = fitted(data(folder), max_epochs=2)
    assert len(whole.seen) == 12 and sum(whole.validated) == 22
    assert whole.seen[:6] != whole.seen[6:]
    path = tmp_path / "stopped.ckpt"
    first = fitted(data(folder), save=path, max_steps=stop)
    rest = fitted(data(folder), ckpt_path=path, max_steps=12)
    assert first.seen + rest.seen == whole.seen


def test_the_order_depends_on_the_run_s_seed_unless_there_is_an_own_one(folder, monkeypatch):
    def first(run_seed: str, seed: int | None) -> list[int]:
        monkeypatch.setenv("PL_GLOBAL_SEED", run_seed)
        return next(iter(data(folder, seed=seed).train_dataloader()))["tokens"].flatten().tolist()

    assert first("1", None) == first("1", None) == first("2", 1) != first("2", None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 4),
        ("bucket_batches", 3),
        ("seed", 5),
        ("max_length", 7),
        ("min_frequency", 9),
        ("variant", "safr"),
    ],
)
def test_resuming_with_other_options_is_an_error(folder, checkpoint, name, value):
    with pytest.raises(ValueError, match=f"{name}=.*{value}"):
        fitted(data(folder, **{name: value}), ckpt_path=checkpoint, max_steps=4)


def test_other_texts_are_an_error_for_resuming_and_other_words_for_evaluating(folder, checkpoint):
    train = folder / "sst2" / "train.tsv"
    train.write_text(train.read_text() + "1\tnever never seen\n")
    with pytest.raises(ValueError, match=r"training texts=43 .*44"):
        fitted(data(folder), ckpt_path=checkpoint, max_steps=4)
    with pytest.raises(ValueError, match="vocabulary"):
        make_trainer().validate(Recorder(), data(folder), checkpoint, weights_only=False)


def test_evaluation_may_use_other_batches(folder, checkpoint):
    recorder = Recorder()
    make_trainer().validate(recorder, data(folder, batch_size=3), checkpoint, weights_only=False)
    assert sum(recorder.validated) == 11 and len(recorder.validated) == 4


# ---- errors ----------------------------------------------------------------------------------


def test_accumulation_and_fewer_texts_than_devices_are_errors(folder):
    with pytest.raises(ValueError, match="accumulate_grad_batches is 4"):
        set_up(data(folder), accumulate_grad_batches=4)
    set_up(data(folder), "validate", accumulate_grad_batches=4)
    with pytest.raises(ValueError, match="batch_size is 2"):
        set_up(data(folder, batch_size=2), devices=3, strategy="ddp")


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (SST2, "max_length", 0),
        (SST2, "batch_size", 0),
        (SST2, "min_frequency", 0),
        (SST2, "bucket_batches", -1),
        (SST2, "seed", -1),
        (SST2, "pad_to", "btach"),
        (SST2, "variant", "sfar"),
        (IMDB, "val_size", 0),
        (IMDB, "split_seed", -1),
    ],
)
def test_options_out_of_range_are_errors(cls, name, value):
    with pytest.raises(ValueError, match=f"^{name} is"):
        cls(**{name: value})


@pytest.mark.parametrize("name", ["train", "dev", "test"])
def test_a_part_without_one_of_the_classes_is_an_error(folder, name):
    path = folder / "sst2" / f"{name}.tsv"
    table(path, [(text, 1) for text, _ in rows(5)])
    with pytest.raises(ValueError, match=f"{path} has no negative text"):
        set_up(data(folder))


def test_an_unknown_tokenizer_is_an_error_that_lists_words(folder):
    with pytest.raises(ValueError, match=r"tokenizer 'wrods'.*'words'"):
        set_up(data(folder, tokenizer="wrods"))


# ---- IMDB ------------------------------------------------------------------------------------


@pytest.fixture
def imdb(tmp_path) -> Path:
    train = [
        (f"review number{i} <br /><br />it\x92s {text}", y) for i, (text, y) in enumerate(rows(40))
    ]
    for name, texts in (("train", train), ("test", [*rows(8, 1), train[7], ("<br />", 1)])):
        lines = (json.dumps({"text": text, "label": label}) for text, label in texts)
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    return tmp_path


def numbers(loader, module: IMDB) -> set[int]:
    names = module.vocabulary.words
    return {int(names[row[1]][6:]) for batch in loader for row in batch["tokens"].tolist()}


def test_imdb_holds_out_training_texts_with_a_separate_seed(imdb, monkeypatch):
    options = {"val_size": 10, "min_frequency": 1, "batch_size": 4}

    def held_out(split_seed: int, run_seed: str) -> set[int]:
        monkeypatch.setenv("PL_GLOBAL_SEED", run_seed)
        module = IMDB(str(imdb), split_seed=split_seed, **options)
        train = numbers(module.train_dataloader(), module)
        assert len(train) == 30
        assert sum(len(batch["labels"]) for batch in module.val_dataloader()) == 10
        return set(range(40)) - train

    assert held_out(0, "1") == held_out(0, "2") != held_out(1, "1")
    with pytest.raises(ValueError, match="val_size is 40"):
        IMDB(str(imdb), val_size=40).setup()


def test_imdb_is_cleaned_and_replacements_are_counted(imdb):
    module = IMDB(str(imdb), val_size=10)
    assert module.describe()["cleaned"] == (
        "83 HTML line breaks, 41 Windows-1252 characters, 1 texts without any word left in all "
        "texts"
    )
    assert module.split_words("so<br />it\x92s") == ["so", "it’s"]


def test_imdb_can_be_left_uncleaned(imdb, tmp_path):
    module = IMDB(str(imdb), val_size=10, clean=False)
    assert module.describe()["cleaned"].startswith("nothing")
    assert module.split_words("So it\x92s.<br /><br />No") == ["So", "it\x92s.<br", "/><br", "/>No"]
    batch = module.encode(["review number1 <br /><br />it\x92s"])
    assert (batch["tokens"][0, 2:4] != module.unknown_token).all()  # <br and /><br
    fitted(IMDB(str(imdb), val_size=10), save=tmp_path / "a.ckpt", max_steps=2)
    with pytest.raises(ValueError, match="clean=True"):
        fitted(module, ckpt_path=tmp_path / "a.ckpt", max_steps=4)


def test_punctuation_can_be_separate_words(imdb):
    module = IMDB(str(imdb), val_size=10, split_punctuation=True)
    assert module.split_words("A film. So?") == ["A", "film", ".", "So", "?"]
