"""DecisionMap against single members and closed forms, and the runs it refuses."""

import numpy as np
import pytest
import torch

from callbacks import DecisionMap
from datamodules import AlgorithmicData, CircularFeatures, LatticeCompletion, ToyPoints
from lightning_modules import (
    Classifier,
    CrossEntropyHead,
    FeatureAutoencoder,
    HarmonicHead,
    Identity,
    VectorMLP,
)
from tests.helpers.loggers import Unseen
from tests.helpers.trainers import quiet_trainer

EPS = 1e-10


def harmonic(*sizes):
    return HarmonicHead(*sizes, exponent=2, eps=EPS)


def biased(*sizes):
    return CrossEntropyHead(*sizes, bias=True)


def make(head=harmonic, network=Identity):
    data = ToyPoints("five", steps_per_epoch=5)
    module = Classifier(
        network, head, 0, 2, data.num_classes, tie_embedding=False, seeds=[0, 1],
        learning_rate=1e-2, weight_decay=0.0, compile="never",
    )  # fmt: skip
    return module, data


def fitted(probe, epochs=4, **options):
    module, data = make(**options)
    quiet_trainer(probe, max_epochs=epochs).fit(module, datamodule=data)
    return module


def by_hand(module, index):
    """Loss and accuracy of one member as an ordinary module, in float64."""
    member = module.member(index).double()
    x = make()[1]._coordinates.double()
    y = torch.arange(len(x))
    with torch.no_grad():
        logits = member(x)
    loss = torch.nn.functional.cross_entropy(logits, y).item()
    return loss, (logits.argmax(-1) == y).double().mean().item()


# ---- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [harmonic, biased, CrossEntropyHead])
def test_values_are_those_of_each_member_by_itself(head):
    probe = DecisionMap(resolution=3)
    module = fitted(probe, head=head)
    for index in range(2):
        loss, accuracy = by_hand(module, index)
        assert probe.results["val/plane/loss"][index].item() == pytest.approx(loss, rel=1e-5)
        assert probe.results["val/plane/accuracy"][index].item() == accuracy
        norm = np.sqrt((module.member(index).head.weight.detach().numpy() ** 2).sum())
        assert probe.results["val/plane/weight_norm"][index].item() == pytest.approx(norm)


def test_a_loss_far_below_the_resolution_of_float32_is_not_zero():
    module, data = make()
    probe = DecisionMap(resolution=3)
    with torch.no_grad():  # every weight on its point
        module.class_centers().copy_(data._coordinates.expand(2, -1, -1))
    quiet_trainer(probe).validate(module, datamodule=data, verbose=False)
    # p of another class is eps/d^2 of the own: 1/2 + 1/2 + 1/4 + 1 at a corner, 4 in the middle.
    expected = EPS * (4 * 2.25 + 4) / 5
    assert probe.results["val/plane/loss"].tolist() == pytest.approx([expected] * 2, rel=1e-4)
    assert probe.results["val/plane/center_distance"].tolist() == [0, 0]
    assert probe.results["val/plane/norm_growth"].isnan().all()  # nothing was trained


def test_the_history_has_every_validation_whatever_the_stride():
    probe = DecisionMap(record_steps=[0, 10, 11], resolution=3, every_n_epochs=10**9)
    module = fitted(probe)
    arrays, results = probe.arrays, probe.results
    assert arrays["steps"].tolist() == [[0, 5, 10, 15, 20]] * 2
    fresh, shorter = make()[0], fitted(DecisionMap(resolution=3), epochs=2)
    for index in range(2):
        for place, known in ((0, fresh), (2, shorter), (4, module)):
            loss = by_hand(known, index)[0]
            assert arrays["loss"][index, place].item() == pytest.approx(loss, rel=1e-5)
        norms = arrays["weight_norm"][index]
        growth = results["val/plane/norm_growth"][index].item()
        assert growth == pytest.approx((norms[4] / norms[2]).item())
    for step, place in ((0, 0), (10, 2)):
        for name in ("loss", "weight_norm"):
            assert torch.equal(results[f"val/plane/{name}_at_{step}"], arrays[name][:, place])
    assert results["val/plane/loss_at_11"].isnan().all()


def test_a_resumed_run_keeps_the_history_and_a_second_run_starts_a_new_one(tmp_path):
    module, data = make()
    whole, first, second = (DecisionMap(resolution=3) for _ in range(3))
    fitted(whole)
    trainer = quiet_trainer(first, max_epochs=2)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    module, data = make()
    quiet_trainer(second, max_epochs=4).fit(
        module, datamodule=data, ckpt_path=tmp_path / "half.ckpt"
    )
    for name in ("steps", "loss", "weight_norm"):
        assert torch.equal(second.arrays[name], whole.arrays[name])
    fitted(whole, epochs=1)
    assert whole.steps == [0, 5]


# ---- the map -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("head", "network"), [(harmonic, Identity), (biased, VectorMLP)])
def test_regions_are_what_each_member_answers_point_by_point(head, network):
    probe = DecisionMap(resolution=5)
    module = fitted(probe, epochs=2, head=head, network=network)
    left, right, low, high = probe.arrays["window"][0].tolist()
    assert [left, right, low, high] == pytest.approx([-1.7, 1.7, -1.7, 1.7])
    for index in range(2):
        member = module.member(index)
        for row in range(5):
            for column in range(5):
                x = left + (right - left) * (column + 0.5) / 5
                y = low + (high - low) * (row + 0.5) / 5
                answer = member(torch.tensor([[x, y]])).argmax().item()
                assert probe.arrays["regions"][index, row, column].item() == answer


@pytest.mark.parametrize(
    ("head", "network", "in_plane"),
    [
        (harmonic, Identity, True),
        (biased, Identity, True),
        (harmonic, lambda *sizes: VectorMLP(*sizes, hidden_dim=2), False),  # not the inputs
    ],
)
def test_weights_in_the_plane_and_biases_are_stored_where_there_are_any(head, network, in_plane):
    probe = DecisionMap(resolution=3)
    module = fitted(probe, epochs=1, head=head, network=network)
    assert ("weights" in probe.arrays) == in_plane
    if in_plane:
        assert torch.equal(probe.arrays["weights"], module.class_centers())
    if head is biased:
        assert torch.equal(probe.arrays["bias"][1], module.member(1).head.bias)
    assert probe.arrays["bias"].isfinite().all() == (head is biased)
    assert probe.arrays["by_distance"].tolist() == [head is harmonic] * 2


def test_figures_between_measurements_have_values_of_their_epoch(tmp_path):
    probe = DecisionMap(resolution=3, figures_every_n_epochs=2)
    drawn, draw = [], probe.figures
    probe.figures = lambda *given: drawn.append((draw(*given), probe.arrays["steps"].max())) or {}
    module, data = make()
    quiet_trainer(probe, max_epochs=4, logger=Unseen()).fit(module, datamodule=data)
    assert [int(step) for _, step in drawn] == [10, 20]
    titles = [axes.get_title() for axes in drawn[-1][0]["decision_map"].axes]
    accuracy = probe.results["val/plane/accuracy"]
    for seed, title in enumerate(titles):
        assert f"seed {seed}" in title and f"{100 * accuracy[seed]:.0f} %" in title


# ---- refusals ------------------------------------------------------------------------------------


class Space(ToyPoints):
    num_inputs = 3


@pytest.mark.parametrize(
    ("module", "data", "problem"),
    [
        (
            lambda: Classifier(vocab_size=25, num_inputs=3, num_classes=25),
            lambda: AlgorithmicData(LatticeCompletion(), num_samples=40),
            "3 tokens",
        ),
        (
            lambda: Classifier(Identity, harmonic, 0, 3, 5, tie_embedding=False),
            Space,
            "3 numbers",
        ),
        (
            lambda: FeatureAutoencoder(num_features=6),
            lambda: CircularFeatures(num_features=6, batch_size=8, steps_per_epoch=1),
            "FeatureAutoencoder",
        ),
    ],
)
def test_other_inputs_and_models_are_refused_before_training(module, data, problem):
    with pytest.raises(ValueError, match=f"DecisionMap.*{problem}"):
        quiet_trainer(DecisionMap()).fit(module(), datamodule=data())


@pytest.mark.parametrize("options", [{"resolution": 1}, {"record_steps": [5, -1]}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        DecisionMap(**options)
