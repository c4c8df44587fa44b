"""Which tokenizer belongs to trained models, and that no other is taken for it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from glassbox.cli.checkpoints import LoadedModel, choose_tokenizer


class Letters:
    """Ids of characters, moved on by some places."""

    def __init__(self, name: str, vocab_size: int, moved: int = 0) -> None:
        self.name, self.vocab_size, self.moved = name, vocab_size, moved

    def encode_batch(self, texts):
        return [np.array([(ord(c) + self.moved) % 97 for c in text]) for text in texts]


KNOWN = {
    "a": Letters("a", 100),
    "copy of a": Letters("copy of a", 100),
    "other": Letters("other", 100, moved=1),
    "small": Letters("small", 50),
    "gpt2": Letters("gpt2", 50257),
}


def models(*names: str | None, rows: int = 100) -> list[LoadedModel]:
    model = SimpleNamespace(head=SimpleNamespace(num_classes=rows))
    return [LoadedModel(model, name) for name in names]


def chosen(loaded: list[LoadedModel], asked: str | None = None) -> str | None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glassbox.cli.checkpoints.load_tokenizer", KNOWN.__getitem__)
        tokenizer = choose_tokenizer(loaded, asked)
    return None if tokenizer is None else tokenizer.name


def test_it_is_the_one_that_the_models_name():
    assert chosen(models("a")) == "a"
    assert chosen(models("a", None)) == "a"


def test_two_names_of_one_tokenizer_are_one():
    assert chosen(models("a", "copy of a")) == "a"
    assert chosen(models("a"), "copy of a") == "copy of a"


def test_models_of_different_tokenizers_are_refused_by_their_ids():
    with pytest.raises(ValueError, match="a and other"):
        chosen(models("a", "other"))


def test_one_that_is_asked_for_against_what_the_model_says_is_refused():
    with pytest.raises(ValueError, match="other and a"):
        chosen(models("a"), "other")


def test_another_size_is_refused_though_its_ids_would_fit():
    with pytest.raises(ValueError, match="small has 50 tokens"):
        chosen(models(None), "small")


@pytest.mark.parametrize("rows", [50257, 50304])
def test_where_none_is_named_the_vocabulary_tells_gpt2s_padded_or_not(rows):
    assert chosen(models(None, rows=rows)) == "gpt2"
    assert chosen(models(None, rows=rows), "gpt2") == "gpt2"


@pytest.mark.parametrize("rows", [100, 50256, 50258, 50432])
def test_otherwise_it_is_not_known(rows):
    assert chosen(models(None, rows=rows)) is None
