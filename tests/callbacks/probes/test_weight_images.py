"""WeightImages on networks whose weights are known, and the runs it refuses."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from callbacks import WeightImages
from callbacks.probes.weight_images import most_used_units
from datamodules import MNIST, AlgorithmicData
from lightning_modules import (
    Classifier,
    CrossEntropyHead,
    FeatureAutoencoder,
    HarmonicHead,
    Identity,
    VectorMLP,
)
from lightning_modules.networks import FeatureNetwork
from tests.helpers.idx_digits import digits, write_digits
from tests.helpers.trainers import quiet_trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> MNIST:
    folder = write_digits(tmp_path_factory.mktemp("digits"), train=60)
    return MNIST(str(folder))  # images of 4 x 3 pixels


def classifier(network=Identity, head=HarmonicHead, seeds=2) -> Classifier:
    return Classifier(
        network, head, vocab_size=0, num_inputs=12, num_classes=10, tie_embedding=False,
        num_seeds=seeds, compile="never",
    )  # fmt: skip


def measured(model: Classifier, data: MNIST) -> dict[str, torch.Tensor]:
    probe = WeightImages(border=1)
    quiet_trainer(probe).validate(model, datamodule=data, verbose=False)
    return {name.rpartition("/")[2]: value for name, value in probe.results.items()}


def means_by_hand() -> np.ndarray:
    """The mean image of each class of the training file, gray values from 0 to 1."""
    images, labels = digits(60, 0)
    assert set(labels.tolist()) == set(range(10))
    return np.stack([images[labels == c].reshape(-1, 12).mean(0) / 255 for c in range(10)])


def test_weights_that_are_the_class_means_match_them(data):
    model = classifier()
    means = torch.from_numpy(means_by_hand()).float()
    with torch.no_grad():
        model.ensemble.stacked.head.weight[0] = means
        model.ensemble.stacked.head.weight[1] = -means
    values = measured(model, data)
    assert values["cosine"].tolist() == pytest.approx([1, -1])
    assert values["correlation"].tolist() == pytest.approx([1, -1])
    assert values["class_mean_match"][0] == values["class_mean_match_correlation"][0] == 1
    assert values["class_mean_match_correlation"][1] < 1
    assert values["near_zero"].tolist() == [0, 0]


def test_border_fractions_are_those_of_the_frame(data):
    model = classifier(seeds=1)
    inside = torch.zeros(4, 3)
    inside[1:3, 1] = 1.0
    with torch.no_grad():
        model.ensemble.stacked.head.weight[0] = inside.flatten()
    values = measured(model, data)
    assert values["near_zero_border"].item() == 1
    assert values["near_zero"].item() == pytest.approx(10 / 12)


def test_training_measures_draws_and_stores_what_a_study_needs(data):
    model, probe = classifier(head=CrossEntropyHead), WeightImages()
    trainer = quiet_trainer(probe)
    trainer.fit(model, datamodule=data)
    assert torch.equal(probe.arrays["weight_images"], model.class_centers())
    assert probe.arrays["class_means"][1].numpy() == pytest.approx(means_by_hand())
    assert probe.arrays["image_shape"].tolist() == [[4, 3]] * 2
    assert set(probe.summary_metrics) <= set(probe.results)
    figure = probe.figures(trainer, model)["weight_images"]
    assert any("cross-entropy" in text.get_text() for text in figure.texts)


def test_images_of_a_hidden_layer_are_those_of_its_most_used_units(data):
    model, probe = classifier(partial(VectorMLP, hidden_dim=16)), WeightImages(border=1)
    trainer = quiet_trainer(probe)
    trainer.fit(model, datamodule=data)
    assert set(probe.results) == {f"val/weight_images/near_zero{end}" for end in ("_border", "")}
    for seed in range(2):
        first = model.member(seed).network.layers[0].weight
        units = probe.arrays["image_units"][seed]
        assert torch.equal(probe.arrays["weight_images"][seed], first[units])
    titles = [axes.get_title() for axes in probe.figures(trainer, model)["weight_images"].axes]
    assert f"unit {int(probe.arrays['image_units'][0, 0])}" in titles


def test_a_unit_with_the_same_weight_for_all_classes_is_not_used():
    hidden = torch.tensor([[[1.0, 0.0], [9.0, 0.0], [0.0, 2.0]]])  # (1, 3 units, 2 pixels)
    head = torch.tensor([[[1.0, 7.0, -1.0], [-1.0, 7.0, 1.0]]])  # (1, 2 classes, 3 units)
    assert most_used_units(hidden, head).tolist() == [[2, 0, 1]]


def test_classes_without_an_image_are_left_out(tmp_path):
    data = MNIST(str(write_digits(tmp_path / "few")), num_train=4)
    values = measured(classifier(seeds=1), data)
    assert all(value.isfinite().all() for value in values.values())


class Own(FeatureNetwork):
    """A network without weights on pixels."""

    def __init__(self, vocab_size: int, num_inputs: int) -> None:
        super().__init__()
        self.out_features = num_inputs

    def forward(self, inputs):
        return inputs


@pytest.mark.parametrize(
    ("model", "other_data", "missing"),
    [
        (
            lambda: Classifier(vocab_size=31, num_inputs=2, num_classes=31, compile="never"),
            AlgorithmicData(num_samples=60),
            "AlgorithmicData",
        ),
        (lambda: FeatureAutoencoder(12, compile="never"), None, "FeatureAutoencoder"),
        (lambda: classifier(Own), None, "Own"),
    ],
)
def test_other_data_and_networks_are_refused(data, model, other_data, missing):
    with pytest.raises(ValueError, match=f"WeightImages.*{missing}"):
        quiet_trainer(WeightImages()).validate(
            model(), datamodule=other_data or data, verbose=False
        )


def test_a_border_below_one_is_refused():
    with pytest.raises(ValueError, match="border"):
        WeightImages(border=0)
