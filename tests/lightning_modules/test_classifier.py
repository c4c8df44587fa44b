"""The Classifier in a notebook: without the command line."""

from __future__ import annotations

from functools import partial

import lightning as L
import pytest
import torch

from datamodules import AlgorithmicData, PermutationComposition
from lightning_modules import MLP, Classifier, CrossEntropyHead, HarmonicHead


def trainer(**options):
    return L.Trainer(
        max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", **options,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*logging interval.*")
@pytest.mark.parametrize("head", [CrossEntropyHead, partial(HarmonicHead, exponent=2, eps=1e-4)])
def test_checkpoint_of_a_notebook_run_brings_back_its_own_head(tmp_path, head):
    model = Classifier(partial(MLP, hidden_dim=20), head, seeds=[3, 7], compile="never")
    run = trainer()
    run.fit(model, datamodule=AlgorithmicData(num_samples=60))
    run.save_checkpoint(tmp_path / "run.ckpt")
    loaded = Classifier.load_from_checkpoint(tmp_path / "run.ckpt", weights_only=True)
    assert repr(loaded.member(0).head) == repr(model.member(0).head) and loaded.seeds == [3, 7]
    inputs = torch.randint(31, (2, 9, 2))
    torch.testing.assert_close(loaded(inputs), model(inputs))


@pytest.mark.filterwarnings("ignore:.*logging interval.*")
def test_checkpoint_of_a_network_built_by_a_function_asks_for_it(tmp_path):
    model = Classifier(lambda v, t: MLP(v, t, hidden_dim=20), CrossEntropyHead, compile="never")
    run = trainer()
    run.fit(model, datamodule=AlgorithmicData(num_samples=60))
    run.save_checkpoint(tmp_path / "run.ckpt")
    with pytest.raises(ValueError, match="pass network="):
        Classifier.load_from_checkpoint(tmp_path / "run.ckpt", weights_only=True)


def test_sizes_that_are_not_the_datas_are_refused_before_training():
    with pytest.raises(ValueError, match="vocab_size is 31 and the data's is 24"):
        trainer().fit(
            Classifier(compile="never"), datamodule=AlgorithmicData(PermutationComposition())
        )


@pytest.mark.parametrize(
    ("options", "limits", "steps"),
    [
        ({}, {"max_epochs": 10}, 20),
        ({}, {"max_epochs": 10, "max_steps": 7}, 7),
        ({}, {"max_epochs": -1}, float("inf")),
        ({}, {"max_epochs": -1, "max_time": "00:00:00:02"}, 0),
    ],
)
def test_length_of_the_run_that_decides_on_compiling(options, limits, steps):
    model = Classifier(compile="never")
    model.trainer = L.Trainer(**limits, logger=False, accelerator="cpu", enable_checkpointing=False)
    data = AlgorithmicData(num_samples=60, seeds=[0])
    data.setup()
    model.trainer.datamodule = data
    assert model._planned_steps() == steps
