"""Data modules of texts: what the model, probes and the trainer are told, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from datamodules import IMDB, SST2

WORDS = ["a", "fine", "bad", "film", "that", "is", "so", "very", "long", "and", "dull"]


def rows(count: int, seed: int = 0) -> list[tuple[str, int]]:
    """Random texts of random lengths, the classes in turn."""
    rng = np.random.default_rng(seed)
    return [(" ".join(rng.choice(WORDS, rng.integers(1, 12))), i % 2) for i in range(count)]


def table(path: Path, texts: list[tuple[str, int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("label\tsentence\n" + "".join(f"{label}\t{text}\n" for text, label in texts))


@pytest.fixture
def folder(tmp_path) -> Path:
    for number, (name, count) in enumerate((("train", 43), ("dev", 11), ("test", 9))):
        table(tmp_path / "sst" / "sst2" / f"{name}.tsv", rows(count, number))
    return tmp_path / "sst"


def data(folder: Path, **options) -> SST2:
    return SST2(str(folder), **{"variant": "standard", "batch_size": 8, **options})


def set_up(module, stage: str = "fit", **options) -> L.Trainer:
    module.trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, **options
    )
    module.setup(stage)
    return module.trainer


def refusal(module, **options) -> str:
    with pytest.raises(ValueError) as error:
        set_up(module, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- what the model and probes are told ------------------------------------------------------


def test_vocabulary_is_known_before_setup_and_comes_from_training_texts_alone(folder):
    with (folder / "sst2" / "test.tsv").open("a") as file:
        file.write("1\tunheard unheard unheard\n")
    module = data(folder)
    words = {word for text, _ in rows(43) for word in text.split()}
    assert module.vocab_size == 2 + len(words)
    batch = module.encode(["unheard film"])
    assert batch["tokens"][0, 0] == module.unknown_token != batch["tokens"][0, 1]


def test_sizes_of_the_model_are_told(folder):
    module = data(folder, max_length=5)
    assert (module.context_length, module.num_classes) == (5, 2)
    assert module.class_names == ["negative", "positive"]
    assert module.steps_per_epoch == 6 == len(module.train_dataloader())
    assert max(batch["tokens"].shape[1] for batch in module.train_dataloader()) == 5


@pytest.mark.parametrize("tokenizer", ["words", "bytes"])
def test_texts_are_encoded_as_those_of_the_data_are(folder, tokenizer):
    module = data(folder, tokenizer=tokenizer, max_length=9, batch_size=1)
    found = [
        (batch["tokens"][0].tolist(), batch["words"][0].tolist())
        for batch in module.test_dataloader()
    ]
    expected = []
    for text, _ in rows(9, 2):
        batch = module.encode([text])
        assert batch["labels"].tolist() == [-100]
        expected.append((batch["tokens"][0].tolist(), batch["words"][0].tolist()))
        assert module.split_words(text) == text.split()[: batch["words"].max() + 1]
    assert sorted(found) == sorted(expected)


def test_a_text_without_words_is_one_unknown_word(folder):
    module = data(folder)
    batch = module.encode(["", "film"])
    assert batch["tokens"].shape == (2, 1) and batch["mask"].all()
    assert batch["tokens"][0, 0] == module.unknown_token
    assert module.split_words("") == ["<unk>"]
    with pytest.raises(ValueError, match="no texts to encode"):
        module.encode([])


def test_padding_to_the_maximum_holds_for_every_batch(folder):
    module = data(folder, pad_to="max_length", max_length=20)
    batches = [*module.train_dataloader(), *module.val_dataloader(), module.encode(["a film"])]
    assert {batch["tokens"].shape[1] for batch in batches} == {20}


def test_description_counts_texts_words_and_repeats(folder):
    train = rows(43)
    table(folder / "sst2" / "test.tsv", [train[0], train[1], ("zyx zyx zyx zyx", 1)])
    module = data(folder)
    said = module.describe()
    positive = sum(label for _, label in train)
    assert said["texts"].startswith(f"43 ({positive} positive) for training, 11 (5 positive)")
    distinct = {text for text, _ in train}
    val = sum(text in distinct for text, _ in rows(11, 1))
    assert module.repeats == {
        "train_in_train": 43 - len(distinct),
        "val_in_train": val,
        "test_in_train": 2,
    }
    assert "2 of the test are training texts" in said["repeated"]
    tokens = sum(len(text.split()) for text, _ in train[:2])
    assert f"{4 / (4 + tokens):.1%} of the test" in said["vocabulary"]
    assert "8 texts a step" in said["batch"]


def test_fingerprint_is_of_the_encoded_texts_of_all_parts_wherever_they_lie(folder, tmp_path):
    first = data(folder).fingerprint
    assert re.fullmatch("[0-9a-f]{12}", first)
    shutil.copytree(folder, tmp_path / "elsewhere")
    same = data(tmp_path / "elsewhere", batch_size=3, bucket_batches=0, seed=4, pad_to="max_length")
    assert same.fingerprint == first
    found = {
        first,
        data(folder, max_length=4).fingerprint,
        data(folder, min_frequency=22).fingerprint,
    }
    for number, (name, count) in enumerate((("train", 43), ("dev", 11), ("test", 9))):
        changed = rows(count, number)
        table(
            folder / "sst2" / f"{name}.tsv", [*changed[:-1], (changed[-1][0], 1 - changed[-1][1])]
        )
        found.add(data(folder).fingerprint)
        table(folder / "sst2" / f"{name}.tsv", [*changed[:-1], ("dull film", changed[-1][1])])
        found.add(data(folder).fingerprint)
        table(folder / "sst2" / f"{name}.tsv", changed)
    assert len(found) == 9 and data(folder).fingerprint == first


# ---- the trainer -----------------------------------------------------------------------------


class Recorder(L.LightningModule):
    """Notes what it is trained on."""

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


def fitted(module: SST2, ckpt_path=None, save=None, **options) -> Recorder:
    recorder = Recorder()
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **options,
    )
    trainer.fit(recorder, datamodule=module, ckpt_path=ckpt_path, weights_only=False)
    if save:
        trainer.save_checkpoint(save)
    return recorder


@pytest.mark.parametrize("stop", [4, 6, 9])
def test_a_resumed_run_sees_what_it_would_have_seen(folder, tmp_path, stop):
    whole = fitted(data(folder), max_epochs=2)
    assert len(whole.seen) == 12 and sum(whole.validated) == 22
    assert whole.seen[:6] != whole.seen[6:]
    path = tmp_path / "stopped.ckpt"
    first = fitted(data(folder), save=path, max_steps=stop)
    rest = fitted(data(folder), ckpt_path=path, max_steps=12)
    assert first.seen + rest.seen == whole.seen


def test_order_is_that_of_the_run_s_seed_unless_it_has_its_own(folder, monkeypatch):
    def first(run_seed: str, seed: int | None) -> list[int]:
        monkeypatch.setenv("PL_GLOBAL_SEED", run_seed)
        return next(iter(data(folder, seed=seed).train_dataloader()))["tokens"].flatten().tolist()

    assert first("1", None) == first("1", None) == first("2", 1) != first("2", None)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"batch_size": 4}, "batch_size 8, and now it is 4"),
        ({"bucket_batches": 3}, "bucket_batches 50, and now it is 3"),
        ({"seed": 5}, "seed 0, and now it is 5"),
        ({"max_length": 7}, "max_length 128, and now it is 7"),
        ({"min_frequency": 9}, "min_frequency 2, and now it is 9"),
        ({"variant": "safr"}, "variant standard, and now it is safr"),
    ],
)
def test_resuming_with_other_data_is_refused(folder, tmp_path, change, part):
    path = tmp_path / "a.ckpt"
    fitted(data(folder), save=path, max_steps=2)
    with pytest.raises(ValueError, match=re.escape(part)):
        fitted(data(folder, **change), ckpt_path=path, max_steps=4)


def test_resuming_with_other_texts_is_refused_and_testing_with_other_words(folder, tmp_path):
    path = tmp_path / "a.ckpt"
    fitted(data(folder), save=path, max_steps=2)
    train = folder / "sst2" / "train.tsv"
    train.write_text(train.read_text() + "1\tnever never seen\n")
    with pytest.raises(ValueError, match=r"training texts 43 .*now it is 44"):
        fitted(data(folder), ckpt_path=path, max_steps=4)
    with pytest.raises(ValueError, match=r"trained on other words"):
        L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False).validate(
            Recorder(), data(folder), ckpt_path=path, weights_only=False
        )


def test_testing_in_other_batches_is_allowed(folder, tmp_path):
    path = tmp_path / "a.ckpt"
    fitted(data(folder), save=path, max_steps=2)
    module, recorder = data(folder, batch_size=3), Recorder()
    L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    ).validate(recorder, module, ckpt_path=path, weights_only=False)
    assert sum(recorder.validated) == 11 and len(recorder.validated) == 4


# ---- what is refused -------------------------------------------------------------------------


def test_accumulation_is_refused(folder):
    said = refusal(data(folder), accumulate_grad_batches=4)
    assert "accumulate_grad_batches is 4" in said and "data.batch_size" in said
    set_up(data(folder), "validate", accumulate_grad_batches=4)


def test_fewer_texts_a_step_than_devices_are_refused(folder):
    said = refusal(data(folder, batch_size=2), devices=3, strategy="ddp")
    assert "data.batch_size is 2 for 3 devices" in said and "at least 3" in said


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"max_length": 0}, "max_length is 0; it must be at least 1"),
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"min_frequency": 0}, "min_frequency is 0; it must be at least 1"),
        ({"bucket_batches": -1}, "bucket_batches is -1; it must not be negative"),
        ({"seed": -1}, "seed is -1; it must not be negative"),
        ({"pad_to": "btach"}, "pad_to is 'btach'; did you mean 'batch'?"),
        ({"variant": "sfar"}, "variant is 'sfar'; did you mean 'safr'?"),
    ],
)
def test_options_out_of_range_are_refused(options, part):
    with pytest.raises(ValueError, match=re.escape(part)):
        SST2(**options)


@pytest.mark.parametrize("name", ["train", "dev", "test"])
def test_a_part_without_one_of_the_classes_is_refused(folder, name):
    path = folder / "sst2" / f"{name}.tsv"
    table(path, [(text, 1) for text, _ in rows(5)])
    assert f"{path} has no negative text among its 5" in refusal(data(folder))


def test_an_unknown_tokenizer_is_refused_with_words_among_the_choices(folder):
    assert re.search("no tokenizer 'wrods'.*'words'", refusal(data(folder, tokenizer="wrods")))


# ---- IMDB ------------------------------------------------------------------------------------


def reviews(path: Path, texts: list[tuple[str, int]]) -> None:
    path.write_text("\n".join(json.dumps({"text": t, "label": y}) for t, y in texts))


@pytest.fixture
def imdb(tmp_path) -> Path:
    train = [(f"review number{i} <br /><br />it\x92s {text}", y) for i, (text, y) in
             enumerate(rows(40))]  # fmt: skip
    reviews(tmp_path / "train.jsonl", train)
    reviews(tmp_path / "test.jsonl", [*rows(8, 1), train[7], ("<br />", 1)])
    return tmp_path


def numbers(loader, module: IMDB) -> set[int]:
    names = module.vocabulary.words
    return {int(names[row[1]][6:]) for batch in loader for row in batch["tokens"].tolist()}


def test_a_part_of_imdb_s_training_set_is_held_out_by_a_seed_of_its_own(imdb, monkeypatch):
    options = {"val_size": 10, "min_frequency": 1, "batch_size": 4}

    def held_out(split_seed: int, run_seed: str) -> set[int]:
        monkeypatch.setenv("PL_GLOBAL_SEED", run_seed)
        module = IMDB(str(imdb), split_seed=split_seed, **options)
        train = numbers(module.train_dataloader(), module)
        assert len(train) == 30
        return set(range(40)) - train

    assert held_out(0, "1") == held_out(0, "2") != held_out(1, "1")
    module = IMDB(str(imdb), **options)
    sizes = [sum(len(b["labels"]) for b in loader) for loader in
             (module.val_dataloader(), module.test_dataloader())]  # fmt: skip
    assert sizes == [10, 10]


def test_imdb_is_cleaned_and_what_was_mended_is_told(imdb):
    module = IMDB(str(imdb), val_size=10)
    assert module.describe()["cleaned"] == (
        "83 HTML line breaks, 41 Windows-1252 characters, 1 texts of which no word was left in "
        "all texts"
    )
    assert module.split_words("so<br />it\x92s") == ["so", "it’s"]


def test_imdb_may_be_left_as_it_is_and_says_so(imdb):
    module = IMDB(str(imdb), val_size=10, clean=False)
    assert module.describe()["cleaned"] == "nothing, since data.clean is false"
    assert module.split_words("So it\x92s.<br /><br />No") == ["So", "it\x92s.<br", "/><br", "/>No"]
    batch = module.encode(["review number1 <br /><br />it\x92s"])
    assert (batch["tokens"][0, 2:4] != module.unknown_token).all()  # <br and /><br
    assert module.settings()["clean"] is False


def test_a_run_does_not_go_on_with_texts_that_are_cleaned_otherwise(imdb, tmp_path):
    path = tmp_path / "a.ckpt"
    fitted(IMDB(str(imdb), val_size=10), save=path, max_steps=2)
    with pytest.raises(ValueError, match="clean True, and now it is False"):
        fitted(IMDB(str(imdb), val_size=10, clean=False), ckpt_path=path, max_steps=4)


def test_punctuation_may_be_words_of_its_own(imdb):
    module = IMDB(str(imdb), val_size=10, split_punctuation=True)
    assert module.split_words("A film. So?") == ["A", "film", ".", "So", "?"]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"val_size": 40}, "data.val_size is 40, and"),
        ({"val_size": 0}, "val_size is 0; it must be at least 1"),
        ({"split_seed": -1}, "split_seed is -1; it must not be negative"),
    ],
)
def test_a_validation_set_that_cannot_be_is_refused(imdb, options, part):
    with pytest.raises(ValueError, match=re.escape(part)):
        IMDB(str(imdb), **options).setup()
