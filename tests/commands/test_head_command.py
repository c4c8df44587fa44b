"""Heads that wrap a geometry: on the command line, per seed, and in checkpoints."""

from __future__ import annotations

from functools import partial

import lightning as L
import pytest
import torch

from datamodules import AlgorithmicData
from glassbox.cli.main import main
from lightning_modules import (
    MLP,
    Classifier,
    Ensemble,
    FocalHead,
    HarmonicHead,
    LabelSmoothingHead,
    NetworkWithHead,
    SmoothHingeHead,
    SoftNearestNeighborHead,
    SphericalSoftmaxHead,
    SupervisedContrastiveHead,
)

QUICK = ("check", "--config", "configs/quickstart.yaml")
FOCAL = ("--model.head", "FocalHead", "--model.head.geometry", "HarmonicHead")
SETTINGS = ("--model.seeds", "[0, 0, 0, 0]", "--model.head_settings")
WRAPPING = [
    FocalHead,
    LabelSmoothingHead,
    SmoothHingeHead,
    SoftNearestNeighborHead,
    SupervisedContrastiveHead,
]
HEADS = [SphericalSoftmaxHead, *(partial(cls, geometry=HarmonicHead) for cls in WRAPPING)]


@pytest.mark.parametrize(
    "options",
    [
        (*FOCAL, "--model.head.geometry.exponent", "2"),
        (*SETTINGS, "{exponent: [1, 2, 3, 4]}"),
        (*FOCAL, *SETTINGS, "{exponent: [1, 2, 3, 4]}"),
        (*FOCAL, *SETTINGS, "{gamma: [1, 2, 3, 4]}"),
    ],
)
def test_any_objective_takes_any_geometry_and_settings_per_member(in_root, capsys, options):
    main([*QUICK, *options])
    # As many parameters as the harmonic head of the config: the geometry's and no more.
    assert "6,916 parameters × 4 seeds" in capsys.readouterr().out


def test_each_member_has_its_own_settings():
    head = partial(FocalHead, geometry=HarmonicHead)
    settings = {"exponent": [1.0, 6.0], "gamma": [0.0, 3.0]}
    model = Classifier(head=head, seeds=[4, 4], head_settings=settings, compile="never")
    inputs = torch.randint(31, (1, 9, 2)).expand(2, -1, -1)
    for i, logits in enumerate(model(inputs)):
        exponent, gamma = settings["exponent"][i], settings["gamma"][i]
        alone = Classifier(
            head=partial(FocalHead, geometry=partial(HarmonicHead, exponent=exponent), gamma=gamma),
            seeds=[4],
            compile="never",
        )
        torch.testing.assert_close(logits, alone(inputs[:1])[0])
        targets = torch.arange(9)
        torch.testing.assert_close(
            model.member(i)(inputs[0], targets), alone.member(0)(inputs[0], targets)
        )


@pytest.mark.parametrize("head", HEADS, ids=lambda h: getattr(h, "func", h).__name__)
def test_members_of_an_ensemble_train_as_alone(head):
    def build():
        return NetworkWithHead(MLP(9, 2, embedding_dim=5, hidden_dim=7), head(5, 9))

    ensemble, rng = Ensemble(build, [3, 8]), torch.Generator().manual_seed(0)
    inputs = torch.randint(9, (5, 2, 12, 2), generator=rng)
    targets = torch.randint(9, (5, 2, 12), generator=rng)
    # Not Adam, which makes whole steps of the rounding where a gradient is 0: of a last bias under
    # a loss of distances between features.
    together = torch.optim.SGD(ensemble.parameters(), lr=0.1)
    for step in range(5):
        ensemble.compute_gradients(inputs[step], targets[step], step)
        together.step()
    for i, seed in enumerate(ensemble.seeds):
        torch.manual_seed(seed)
        alone = build()
        optimizer = torch.optim.SGD(alone.parameters(), lr=0.1)
        for step in range(5):
            optimizer.zero_grad()
            alone(inputs[step, i], targets[step, i]).backward()
            optimizer.step()
        member = dict(ensemble.member(i).named_parameters())
        assert member.keys() == dict(alone.named_parameters()).keys()
        for name, parameter in alone.named_parameters():
            torch.testing.assert_close(member[name], parameter, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*logging interval.*")
def test_a_checkpoint_brings_back_objective_and_geometry(tmp_path):
    head = partial(SoftNearestNeighborHead, geometry=partial(HarmonicHead, exponent=2, eps=1e-4))
    model = Classifier(partial(MLP, hidden_dim=20), head, seeds=[3, 7], compile="never")
    run = L.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    run.fit(model, datamodule=AlgorithmicData(num_samples=60))
    run.save_checkpoint(tmp_path / "run.ckpt")
    loaded = Classifier.load_from_checkpoint(tmp_path / "run.ckpt", weights_only=True)
    assert repr(loaded.member(0).head) == repr(model.member(0).head)
    assert loaded.member(0).head.geometry.exponent == 2
    inputs = torch.randint(31, (2, 9, 2))
    torch.testing.assert_close(loaded(inputs), model(inputs))
