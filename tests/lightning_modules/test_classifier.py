"""The Classifier in a notebook: without the command line."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch

from datamodules import AlgorithmicData, PermutationComposition
from lightning_modules import MLP, Classifier, CrossEntropyHead, HarmonicHead, ToyTransformer
from lightning_modules.ensemble.ensemble import Ensemble
from tests.helpers.trainers import quiet_trainer


def make_trainer(**options):
    return quiet_trainer(**{"max_epochs": 2, **options})


def fit(model, **options):
    trainer = make_trainer(**options)
    trainer.fit(model, datamodule=AlgorithmicData(num_samples=60))
    return trainer


@pytest.mark.parametrize("head", [CrossEntropyHead, partial(HarmonicHead, exponent=2, eps=1e-4)])
def test_checkpoint_of_a_notebook_run_restores_its_own_head(tmp_path, head):
    model = Classifier(partial(MLP, hidden_dim=20), head, seeds=[3, 7], compile="never")
    fit(model).save_checkpoint(tmp_path / "run.ckpt")
    loaded = Classifier.load_from_checkpoint(tmp_path / "run.ckpt", weights_only=True)
    assert repr(loaded.member(0).head) == repr(model.member(0).head) and loaded.seeds == [3, 7]
    assert loaded.hparams == model.hparams
    inputs = torch.randint(31, (2, 9, 2))
    torch.testing.assert_close(loaded(inputs), model(inputs))


def test_checkpoint_of_a_network_built_by_a_function_asks_for_it(tmp_path):
    model = Classifier(lambda v, t: MLP(v, t, hidden_dim=20), CrossEntropyHead, compile="never")
    fit(model).save_checkpoint(tmp_path / "run.ckpt")
    with pytest.raises(ValueError, match="network"):
        Classifier.load_from_checkpoint(tmp_path / "run.ckpt", weights_only=True)


def test_sizes_that_differ_from_the_datas_are_refused_before_training():
    data = AlgorithmicData(PermutationComposition())
    with pytest.raises(ValueError, match="vocab_size"):
        make_trainer().fit(Classifier(compile="never"), datamodule=data)


def test_a_copy_of_a_trained_classifier_is_independent_of_the_original():
    network = partial(ToyTransformer, dropout=0.5)
    data = AlgorithmicData(num_samples=90, sampling="distinct", train_fraction=[0.3, 0.9])
    model = Classifier(network, seeds=[0, 1], compile="never")
    make_trainer().fit(model, datamodule=data)
    twin, inputs = copy.deepcopy(model), torch.randint(31, (2, 9, 2))
    logits = twin(inputs)
    model.ensemble.compute_gradients(inputs, inputs[..., 0], 0)  # the original in training mode
    torch.testing.assert_close(twin(inputs), logits, rtol=0, atol=0)
    make_trainer().fit(twin, datamodule=data)  # trains the copy's own parameters
    assert not torch.allclose(twin(inputs), logits)
    torch.testing.assert_close(model(inputs), logits)


@pytest.mark.parametrize(
    ("mode", "limits", "compiles"),
    [
        ("auto", {"max_epochs": 10}, True),  # 20 steps of two seeds
        ("auto", {"max_epochs": 9}, False),
        ("auto", {"max_epochs": 10, "max_steps": 7}, False),
        ("auto", {"max_epochs": -1, "max_time": "00:00:00:01"}, False),
        ("always", {}, True),
        ("never", {"max_epochs": 10}, False),
    ],
)
def test_a_run_is_compiled_if_it_is_long_enough(monkeypatch, mode, limits, compiles):
    compiled = []
    monkeypatch.setattr(Ensemble, "compile", lambda ensemble: compiled.append(ensemble))
    monkeypatch.setattr("lightning_modules.classifier._COMPILE_FROM_MEMBER_STEPS", 40)
    fit(Classifier(num_seeds=2, compile=mode), **limits)
    assert bool(compiled) == compiles


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"num_seeds": 0}, "num_seeds"),
        ({"seeds": [-1]}, "seeds"),
        ({"embedding_penalty": -0.1}, "embedding_penalty"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"compile": "sometimes"}, "compile"),
    ],
)
def test_a_value_out_of_range_is_refused(options, name):
    with pytest.raises(ValueError, match=name):
        Classifier(**options)
