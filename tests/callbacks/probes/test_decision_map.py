"""DecisionMap against single members and closed forms, and what it refuses."""

import lightning as L
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

EPS = 1e-10


def harmonic(*sizes):
    return HarmonicHead(*sizes, exponent=2, eps=EPS)


def biased(*sizes):
    return CrossEntropyHead(*sizes, bias=True)


def make(head=harmonic, network=Identity, points="five", seeds=(0, 1)):
    data = ToyPoints(points, steps_per_epoch=5)
    module = Classifier(
        network, head, 0, 2, data.num_classes, tie_embedding=False, seeds=list(seeds),
        learning_rate=1e-2, weight_decay=0.0, compile="never",
    )  # fmt: skip
    return module, data


def make_trainer(tmp_path, *callbacks, **options) -> L.Trainer:
    return L.Trainer(
        callbacks=list(callbacks), logger=False, accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path,
        **options,
    )  # fmt: skip


def fitted(tmp_path, probe, epochs=4, **options):
    module, data = make(**options)
    make_trainer(tmp_path, probe, max_epochs=epochs).fit(module, datamodule=data)
    return module


def by_hand(module, index, points="five"):
    """Loss and accuracy of one member as an ordinary module, in float64."""
    member = module.member(index).double()
    x = make(points=points)[1]._coordinates.double()
    y = torch.arange(len(x))
    with torch.no_grad():
        logits = member(x)
    loss = torch.nn.functional.cross_entropy(logits, y).item()
    return loss, (logits.argmax(-1) == y).double().mean().item()


# ---- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [harmonic, biased, CrossEntropyHead])
def test_values_are_those_of_each_member_by_itself(tmp_path, head):
    probe = DecisionMap(resolution=3)
    module = fitted(tmp_path, probe, head=head)
    for index in range(2):
        loss, accuracy = by_hand(module, index)
        assert probe.results["val/plane/loss"][index].item() == pytest.approx(loss, rel=1e-5)
        assert probe.results["val/plane/accuracy"][index].item() == accuracy
        norm = np.sqrt((module.member(index).head.weight.detach().numpy() ** 2).sum())
        assert probe.results["val/plane/weight_norm"][index].item() == pytest.approx(norm)


def test_a_loss_far_below_the_resolution_of_float32_is_told(tmp_path):
    module, data = make()
    probe = DecisionMap(resolution=3)
    with torch.no_grad():  # every weight on its point
        module.class_centers().copy_(data._coordinates.expand(2, -1, -1))
    make_trainer(tmp_path, probe).validate(module, datamodule=data, verbose=False)
    # p of another class is eps/d^2 of the own: 1/2 + 1/2 + 1/4 + 1 at a corner, 4 in the middle.
    expected = EPS * (4 * 2.25 + 4) / 5
    assert probe.results["val/plane/loss"].tolist() == pytest.approx([expected] * 2, rel=1e-4)
    assert probe.results["val/plane/center_distance"].tolist() == [0, 0]
    assert probe.results["val/plane/norm_growth"].isnan().all()  # nothing was trained


def test_the_history_is_that_of_every_validation_whatever_the_stride(tmp_path):
    probe = DecisionMap(record_steps=[0, 10, 11], resolution=3, every_n_epochs=10**9)
    module = fitted(tmp_path, probe)
    arrays = probe.arrays
    assert arrays["steps"].tolist() == [[0, 5, 10, 15, 20]] * 2
    fresh = make()[0]
    shorter = fitted(tmp_path, DecisionMap(resolution=3), epochs=2)
    for index in range(2):
        for place, known in ((0, fresh), (2, shorter), (4, module)):
            loss = by_hand(known, index)[0]
            assert arrays["loss"][index, place].item() == pytest.approx(loss, rel=1e-5)
        norms = arrays["weight_norm"][index]
        growth = probe.results["val/plane/norm_growth"][index].item()
        assert growth == pytest.approx((norms[4] / norms[2]).item())
    for step, place in ((0, 0), (10, 2)):
        found = probe.results[f"val/plane/loss_at_{step}"]
        assert torch.equal(found, arrays["loss"][:, place])
        found = probe.results[f"val/plane/weight_norm_at_{step}"]
        assert torch.equal(found, arrays["weight_norm"][:, place])
    assert probe.results["val/plane/loss_at_11"].isnan().all()


def test_a_resumed_run_knows_what_was_before(tmp_path):
    module, data = make()
    whole, first, second = (DecisionMap(resolution=3) for _ in range(3))
    fitted(tmp_path, whole)
    trainer = make_trainer(tmp_path, first, max_epochs=2)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    module, data = make()
    make_trainer(tmp_path, second, max_epochs=4).fit(
        module, datamodule=data, ckpt_path=tmp_path / "half.ckpt"
    )
    for name in ("steps", "loss", "weight_norm"):
        assert torch.equal(second.arrays[name], whole.arrays[name])


def test_a_second_training_begins_a_new_history(tmp_path):
    probe = DecisionMap(resolution=3)
    fitted(tmp_path, probe)
    fitted(tmp_path, probe, epochs=1)
    assert probe.steps == [0, 5]


# ---- the map -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("head", "network"), [(harmonic, Identity), (biased, VectorMLP)])
def test_regions_are_what_each_member_answers_place_by_place(tmp_path, head, network):
    probe = DecisionMap(resolution=9)
    module = fitted(tmp_path, probe, head=head, network=network)
    left, right, low, high = probe.arrays["window"][0].tolist()
    assert [left, right, low, high] == pytest.approx([-1.7, 1.7, -1.7, 1.7])
    for index in range(2):
        member = module.member(index)
        for row in range(9):
            for column in range(9):
                x = left + (right - left) * (column + 0.5) / 9
                y = low + (high - low) * (row + 0.5) / 9
                answer = member(torch.tensor([[x, y]])).argmax().item()
                assert probe.arrays["regions"][index, row, column].item() == answer


def test_weights_are_kept_where_they_lie_in_the_plane_and_the_bias_where_there_is_one(tmp_path):
    probe = DecisionMap(resolution=3)
    for head, network, in_plane, has_bias, by_distance in (
        (harmonic, Identity, True, False, True),
        (biased, Identity, True, True, False),
        # Two features, but not the inputs.
        (harmonic, lambda *sizes: VectorMLP(*sizes, hidden_dim=2), False, False, True),
    ):
        module = fitted(tmp_path, probe, epochs=1, head=head, network=network)
        assert ("weights" in probe.arrays) == in_plane
        if in_plane:
            assert torch.equal(probe.arrays["weights"], module.class_centers())
        assert probe.arrays["bias"].isfinite().all() == has_bias
        assert probe.arrays["by_distance"].tolist() == [by_distance] * 2
        figure = probe.figures(module.trainer, module)["decision_map"]
        titles = [axes.get_title() for axes in figure.axes]
        accuracy = probe.results["val/plane/accuracy"]
        assert titles == [f"seed {i} · {100 * accuracy[i]:.0f} % right" for i in range(2)]


# ---- refusals ------------------------------------------------------------------------------------


def refusal(tmp_path, module, data):
    with pytest.raises(ValueError) as caught:
        make_trainer(tmp_path, DecisionMap(), max_epochs=1).fit(module, datamodule=data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_inputs_that_are_no_two_numbers_are_refused_before_training(tmp_path):
    lattice = AlgorithmicData(LatticeCompletion(), num_samples=40)
    said = refusal(tmp_path, Classifier(vocab_size=25, num_inputs=3, num_classes=25), lattice)
    assert "the inputs of these data are 3 tokens; remove the probe from trainer.callbacks" in said

    class Space(ToyPoints):
        num_inputs = 3

    module = Classifier(Identity, harmonic, 0, 3, 5, tie_embedding=False)
    assert "the inputs of these data are 3 numbers; remove" in refusal(tmp_path, module, Space())


def test_another_model_than_a_classifier_is_refused(tmp_path):
    data = CircularFeatures(num_features=6, batch_size=8, steps_per_epoch=1)
    said = refusal(tmp_path, FeatureAutoencoder(num_features=6), data)
    assert said.startswith("DecisionMap asks a Classifier for its answers over the plane, and the")
    assert "FeatureAutoencoder" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"resolution": 1}, "DecisionMap: resolution is 1; it must be at least 2"),
        ({"record_steps": [5, -1]}, "DecisionMap: record_steps are [5, -1]; none may be below 0"),
    ],
)
def test_a_bad_option_is_refused_in_one_sentence(options, said):
    with pytest.raises(ValueError) as caught:
        DecisionMap(**options)
    assert str(caught.value) == said
