"""Choosing the tokenizer of trained models."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from glassbox.cli.checkpoints import LoadedModel, choose_tokenizer


class Letters:
    """Token ids are character codes plus a shift."""

    def __init__(self, name: str, vocab_size: int, shift: int = 0) -> None:
        self.name, self.vocab_size, self.shift = name, vocab_size, shift

    def encode_batch(self, texts):
        return [np.array([(ord(c) + self.shift) % 97 for c in text]) for text in texts]


KNOWN = {
    "a": Letters("a", 100),
    "copy of a": Letters("copy of a", 100),
    "other": Letters("other", 100, shift=1),
    "small": Letters("small", 50),
    "gpt2": Letters("gpt2", 50257),
}


def models(*names: str | None, rows: int = 100) -> list[LoadedModel]:
    model = SimpleNamespace(head=SimpleNamespace(num_classes=rows))
    return [LoadedModel(model, name) for name in names]


def chosen(loaded: list[LoadedModel], requested: str | None = None) -> str | None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glassbox.cli.checkpoints.load_tokenizer", KNOWN.__getitem__)
        tokenizer = choose_tokenizer(loaded, requested)
    return None if tokenizer is None else tokenizer.name


def test_models_tokenizer_is_chosen():
    assert chosen(models("a")) == "a"
    assert chosen(models("a", None)) == "a"


def test_equal_tokenizers_of_different_names_are_compatible():
    assert chosen(models("a", "copy of a")) == "a"
    assert chosen(models("a"), "copy of a") == "copy of a"


def test_models_of_different_tokenizers_raise():
    with pytest.raises(ValueError, match="a and other"):
        chosen(models("a", "other"))


def test_requested_tokenizer_that_differs_from_the_model_s_raises():
    with pytest.raises(ValueError, match="other and a"):
        chosen(models("a"), "other")


def test_tokenizer_of_another_size_raises():
    with pytest.raises(ValueError, match="small has 50 tokens"):
        chosen(models(None), "small")


@pytest.mark.parametrize("rows", [50257, 50304])
def test_gpt2_is_inferred_from_the_vocabulary_size(rows):
    assert chosen(models(None, rows=rows)) == "gpt2"
    assert chosen(models(None, rows=rows), "gpt2") == "gpt2"


@pytest.mark.parametrize("rows", [100, 50256, 50258, 50432])
def test_other_vocabulary_sizes_have_no_default_tokenizer(rows):
    assert chosen(models(None, rows=rows)) is None
