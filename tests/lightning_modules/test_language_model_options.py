"""LanguageModel's options: heads, tied and untied embeddings, their start, and what is refused."""

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


def test_a_tied_embedding_is_one_matrix_and_trains_as_one(token_folder):
    model = make_model()
    make_trainer(3).fit(model, make_data(token_folder()))
    assert model.head.weight is model.network.embedding.weight


def test_an_untied_unembedding_has_the_embedding_s_shape_and_scale_and_trains_alone(token_folder):
    model = make_model(tie_embedding=False)
    head, embedding = model.head.weight, model.network.embedding.weight
    assert head.shape == embedding.shape == (320, 16)  # 257 padded
    assert rms(head) == pytest.approx(0.02, rel=0.05) and not torch.equal(head, embedding)
    assert head.requires_grad
    before = head.detach().clone()
    make_trainer(3).fit(model, make_data(token_folder()))
    assert not torch.equal(model.head.weight, model.network.embedding.weight)
    assert not torch.equal(model.head.weight, before)


def rms(values: Tensor) -> float:
    return float(values.detach().square().mean().sqrt())


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize(
    ("head", "start", "scale"),
    [(HarmonicHead, "matched", 0.02), (HarmonicHead, "gpt2", 1.0),
     (CrossEntropyHead, "matched", 1.0), (CrossEntropyHead, "gpt2", 1.0)],
)  # fmt: skip
def test_features_start_at_the_scale_of_the_centers_where_distances_count(head, start, scale, tie):
    model = make_model(head=head, feature_scale_init=start, tie_embedding=tie)
    features = model.network(torch.randint(257, (8, BLOCK)))
    assert rms(features) == pytest.approx(scale, rel=0.05)
    if scale != 1.0:
        assert rms(features) == pytest.approx(rms(model.class_centers()), rel=0.02)


def test_padding_of_the_vocabulary_gets_no_probability():
    model = make_model()
    assert model(torch.zeros(2, 5, dtype=torch.long)).shape == (2, 5, 257)
    assert model.embedding_matrix().shape == model.class_centers().shape == (1, 257, 16)
    assert model.hidden_states(torch.zeros(2, 5, dtype=torch.long)).shape == (1, 2, 5, 16)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"final_learning_rate": 1.0}, "final_learning_rate 1.0"),
        ({"final_learning_rate": -1.0}, "final_learning_rate -1.0"),
        ({"warmup_steps": -1}, "warmup_steps is -1"),
        ({"warmup_steps": 5, "decay_steps": 5}, "decay_steps 5"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"weight_decay": math.nan}, "weight_decay is nan"),
        ({"betas": (0.9, 1.0)}, "betas are (0.9, 1.0)"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0"),
        ({"clip_norm": math.nan}, "clip_norm is nan"),
        ({"feature_scale_init": "cold"}, "feature_scale_init is 'cold'"),
    ],
)
def test_a_setting_out_of_range_is_refused(options, part):
    with pytest.raises(ValueError) as error:
        make_model(**options)
    assert part in str(error.value)


@pytest.mark.parametrize(
    ("model", "part"),
    [({"vocab_size": 256, "context_length": 16}, "vocab_size=257"),
     ({"vocab_size": 257, "context_length": 32}, "context_length=16")],
)  # fmt: skip
def test_a_model_of_other_sizes_than_the_data_is_refused(token_folder, model, part):
    with pytest.raises(ValueError, match=part):
        make_trainer(1).fit(LanguageModel(TINY, **model), make_data(token_folder()))
