"""Heads that wrap a geometry, from the command line and in a Classifier of several seeds."""

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
WRAPPING = [
    FocalHead,
    LabelSmoothingHead,
    SmoothHingeHead,
    SoftNearestNeighborHead,
    SupervisedContrastiveHead,
]
HEADS = [SphericalSoftmaxHead, *(partial(cls, geometry=HarmonicHead) for cls in WRAPPING)]


def check(capsys, *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main([*QUICK, *arguments])
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")] or [""]
    return int(stop.value.code or 0), line or captured.out


def test_any_objective_goes_with_any_geometry_by_their_names(in_root, capsys):
    code, text = check(capsys, *FOCAL, "--model.head.geometry.exponent", "2")
    assert code == 0, text
    # As many parameters as the harmonic head of the config: the geometry's and no more.
    assert "6,916 parameters × 4 seeds" in text and "6,916" in check(capsys)[1]


def test_settings_of_a_nested_geometry_are_refused_in_a_sentence(in_root, capsys):
    code, sentence = check(capsys, *FOCAL, "--model.head.geometry.exponent", "-2")
    assert code == 2 and "exponent is -2.0; it must be positive" in sentence
    code, sentence = check(capsys, "--model.head", "FocalHead", "--model.head.gamma", "-1")
    assert code == 2 and "gamma is -1.0; it must be 0" in sentence


@pytest.mark.parametrize(
    ("head", "name"), [((), "exponent"), (FOCAL, "exponent"), (FOCAL, "gamma")]
)
def test_members_may_differ_in_settings_of_head_and_geometry(in_root, capsys, head, name):
    members = ("--model.seeds", "[0, 0]", "--model.head_settings", f"{{{name}: [2, 4]}}")
    code, text = check(capsys, *head, *members)
    assert code == 0 and "× 2 seeds" in text


def test_a_setting_that_neither_head_nor_geometry_has_is_refused(in_root, capsys):
    members = ("--model.seeds", "[0, 0]", "--model.head_settings", "{exponent: [2, 4]}")
    code, sentence = check(capsys, "--model.head", "FocalHead", *members)
    assert code == 2 and "FocalHead has no setting 'exponent'" in sentence and "gamma" in sentence


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


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("head", HEADS, ids=lambda h: getattr(h, "func", h).__name__)
def test_members_of_an_ensemble_train_as_alone(head, tied):
    def build():
        return NetworkWithHead(MLP(9, 2, embedding_dim=5, hidden_dim=7), head(5, 9), tied)

    ensemble, rng = Ensemble(build, [3, 8]), torch.Generator().manual_seed(0)
    inputs = torch.randint(9, (10, 2, 12, 2), generator=rng)
    targets = torch.randint(9, (10, 2, 12), generator=rng)
    # Not Adam, which makes whole steps of the rounding where a gradient is 0: of a last bias under
    # a loss of distances between features.
    together = torch.optim.SGD(ensemble.parameters(), lr=0.1)
    for step in range(10):
        ensemble.compute_gradients(inputs[step], targets[step], step)
        together.step()
    for i, seed in enumerate(ensemble.seeds):
        torch.manual_seed(seed)
        alone = build()
        optimizer = torch.optim.SGD(alone.parameters(), lr=0.1)
        for step in range(10):
            optimizer.zero_grad()
            alone(inputs[step, i], targets[step, i]).backward()
            optimizer.step()
        member = dict(ensemble.member(i).named_parameters())
        assert member.keys() == dict(alone.named_parameters()).keys()
        for name, parameter in alone.named_parameters():
            torch.testing.assert_close(member[name], parameter, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*logging interval.*")
@pytest.mark.parametrize("cls", [FocalHead, SoftNearestNeighborHead])
def test_a_checkpoint_brings_back_objective_and_geometry(tmp_path, cls):
    head = partial(cls, geometry=partial(HarmonicHead, exponent=2, eps=1e-4))
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


@pytest.mark.filterwarnings("ignore:.*logging interval.*")
def test_a_run_of_the_command_line_can_be_gone_on_with_and_another_geometry_is_refused(
    lightning_command, capsys
):
    small = ("--config", "configs/quickstart.yaml", "--data.num_samples", "60")
    head = (*FOCAL, "--model.head.geometry.exponent", "2", "--model.num_seeds", "2")
    folder = lightning_command("fit", *small, *head, "--trainer.max_epochs", "1")
    last = str(next(folder.rglob("*.ckpt")))
    lightning_command("fit", *small, *head, "--trainer.max_epochs", "2", "--ckpt_path", last)
    loaded = Classifier.load_from_checkpoint(last, weights_only=True)
    assert isinstance(loaded.member(0).head.geometry, HarmonicHead)
    other = (*FOCAL, "--model.head.geometry.exponent", "4", "--model.num_seeds", "2")
    with pytest.raises(SystemExit) as stop:
        main(["fit", *small, *other, "--ckpt_path", last])
    assert stop.value.code == 2 and "FocalHead" in capsys.readouterr().err
