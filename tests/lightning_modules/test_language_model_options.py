"""LanguageModel's options: heads, embeddings, initial scale, and values out of range."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lightning_modules import CrossEntropyHead, HarmonicHead, LanguageModel
from tests.helpers.language_model_runs import (
    BLOCK,
    TINY,
    expected_warnings,
    make_data,
    make_model,
    make_trainer,
)

pytestmark = expected_warnings


def rms(values: Tensor) -> float:
    return float(values.detach().square().mean().sqrt())


@pytest.mark.parametrize("tie", [True, False])
def test_embedding_and_unembedding_train_as_one_matrix_or_as_two(token_folder, tie):
    model = make_model(tie_embedding=tie)
    head, embedding = model.head.weight, model.network.embedding.weight
    assert (head is embedding) == tie
    assert head.shape == embedding.shape == (320, 16)  # 257 padded
    assert rms(head) == pytest.approx(0.02, rel=0.05)
    before = head.detach().clone()
    make_trainer(3).fit(model, make_data(token_folder()))
    assert torch.equal(model.head.weight, model.network.embedding.weight) == tie
    assert not torch.equal(model.head.weight, before)


@pytest.mark.parametrize(
    ("head", "init", "scale", "tie"),
    [
        (HarmonicHead, "matched", 0.02, True),
        (HarmonicHead, "matched", 0.02, False),
        (HarmonicHead, "gpt2", 1.0, True),
        (CrossEntropyHead, "matched", 1.0, True),
    ],
)
def test_initial_features_have_the_scale_of_the_centers_if_distances_count(head, init, scale, tie):
    model = make_model(head=head, feature_scale_init=init, tie_embedding=tie)
    features = model.network(torch.randint(257, (8, BLOCK)))
    assert rms(features) == pytest.approx(scale, rel=0.05)
    if scale != 1.0:
        assert rms(features) == pytest.approx(rms(model.class_centers()), rel=0.02)


def test_what_callbacks_read_has_no_padding():
    model, ids = make_model(), torch.zeros(2, 5, dtype=torch.long)
    assert model(ids).shape == (2, 5, 257)
    assert model.embedding_matrix().shape == model.class_centers().shape == (1, 257, 16)
    assert model.hidden_states(ids).shape == (1, 2, 5, 16)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"final_learning_rate": 1.0}, "final_learning_rate"),
        ({"final_learning_rate": -1.0}, "final_learning_rate"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"warmup_steps": 5, "decay_steps": 5}, "decay_steps"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"clip_norm": math.nan}, "clip_norm"),
        ({"feature_scale_init": "cold"}, "feature_scale_init"),
        ({"compile": "sometimes"}, "compile"),
    ],
)
def test_a_value_out_of_range_is_refused(options, name):
    with pytest.raises(ValueError, match=name):
        make_model(**options)


@pytest.mark.parametrize(("vocab_size", "length"), [(256, 16), (257, 32)])
def test_a_model_whose_sizes_differ_from_the_datas_is_refused(token_folder, vocab_size, length):
    model = LanguageModel(TINY, vocab_size=vocab_size, context_length=length)
    with pytest.raises(ValueError, match="vocab_size" if vocab_size == 256 else "context_length"):
        make_trainer(1).fit(model, make_data(token_folder()))
