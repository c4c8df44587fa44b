"""WeightImages on networks whose weights are known, and what it refuses."""

from __future__ import annotations

from functools import partial

import lightning as L
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
from tests.helpers.idx_digits import digits, write_digits


def trainer_with(probe: WeightImages, **options) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        num_sanity_val_steps=0, callbacks=[probe], **{"max_epochs": 1, **options},
    )  # fmt: skip


@pytest.fixture
def data(tmp_path) -> MNIST:
    return MNIST(str(write_digits(tmp_path / "digits", train=60)))  # images of 4 x 3 pixels


def classifier(network=Identity, head=HarmonicHead, seeds=2) -> Classifier:
    return Classifier(
        network, head, vocab_size=0, num_inputs=12, num_classes=10, tie_embedding=False,
        num_seeds=seeds, compile="never",
    )  # fmt: skip


def validated(model: Classifier, data: MNIST, **options) -> WeightImages:
    probe = WeightImages(**options)
    trainer_with(probe).validate(model, datamodule=data, verbose=False)
    return probe


def short(probe: WeightImages) -> dict:
    return {name.rpartition("/")[2]: value for name, value in probe.results.items()}


def means_by_hand() -> np.ndarray:
    """The mean image of each class of the training file, gray values from 0 to 1."""
    images, labels = digits(60, 0)
    assert set(labels.tolist()) == set(range(10))
    return np.stack([images[labels == c].reshape(-1, 12).mean(0) / 255 for c in range(10)])


def test_weights_that_are_the_class_means_are_like_them(data):
    model = classifier()
    means = torch.from_numpy(means_by_hand()).float()
    with torch.no_grad():
        model.ensemble.stacked.head.weight[0] = means
        model.ensemble.stacked.head.weight[1] = -means
    found = short(validated(model, data, border=1))
    assert found["cosine"].tolist() == pytest.approx([1, -1])
    assert found["correlation"].tolist() == pytest.approx([1, -1])
    assert found["class_mean_match"][0] == found["class_mean_match_correlation"][0] == 1
    assert found["class_mean_match_correlation"][1] < 1
    assert found["near_zero"].tolist() == [0, 0]


def test_border_shares_are_those_of_the_frame(data):
    model = classifier(seeds=1)
    inside = torch.zeros(4, 3)
    inside[1:3, 1] = 1.0
    with torch.no_grad():
        model.ensemble.stacked.head.weight[0] = inside.flatten()
    found = short(validated(model, data, border=1))
    assert found["near_zero_border"].item() == 1
    assert found["near_zero"].item() == pytest.approx(10 / 12)


def test_training_measures_draws_and_keeps_what_a_study_needs(data):
    model, probe = classifier(head=CrossEntropyHead), WeightImages()
    trainer = trainer_with(probe)
    trainer.fit(model, datamodule=data)
    assert torch.equal(probe.arrays["weight_images"], model.class_centers())
    assert probe.arrays["class_means"][1].numpy() == pytest.approx(means_by_hand())
    assert probe.arrays["image_shape"].tolist() == [[4, 3]] * 2
    assert set(probe.summary_metrics) <= set(probe.results)
    figure = probe.figures(trainer, model)["weight_images"]
    assert any("cross-entropy: weights on the pixels, seed 0" in t.get_text() for t in figure.texts)


def test_behind_a_hidden_layer_the_images_are_those_of_the_units_used_most(data):
    model = classifier(partial(VectorMLP, hidden_dim=16))
    probe = WeightImages(border=1)
    trainer = trainer_with(probe)
    trainer.fit(model, datamodule=data)
    assert set(short(probe)) == {"near_zero_border", "near_zero"}
    for seed in range(2):
        first = model.member(seed).network.layers[0].weight
        units = probe.arrays["image_units"][seed]
        assert torch.equal(probe.arrays["weight_images"][seed], first[units])
    titles = [axes.get_title() for axes in probe.figures(trainer, model)["weight_images"].axes]
    assert f"unit {int(probe.arrays['image_units'][0, 0])}" in titles


def test_a_unit_that_all_classes_read_alike_is_not_used():
    hidden = torch.tensor([[[1.0, 0.0], [9.0, 0.0], [0.0, 2.0]]])  # (1, 3 units, 2 pixels)
    head = torch.tensor([[[1.0, 7.0, -1.0], [-1.0, 7.0, 1.0]]])  # (1, 2 classes, 3 units)
    assert most_used_units(hidden, head).tolist() == [[2, 0, 1]]


def test_class_means_and_weights_of_a_short_file_leave_missing_classes_out(tmp_path):
    data = MNIST(str(write_digits(tmp_path / "few")), num_train=4)
    found = short(validated(classifier(seeds=1), data))
    assert all(value.isfinite().all() for value in found.values())


def test_other_data_and_networks_are_refused(data, tmp_path):
    with pytest.raises(ValueError, match="needs data of images, and AlgorithmicData"):
        trainer_with(WeightImages()).validate(
            Classifier(vocab_size=31, num_inputs=2, num_classes=31, compile="never"),
            datamodule=AlgorithmicData(num_samples=60), verbose=False,
        )  # fmt: skip
    with pytest.raises(ValueError, match="which FeatureAutoencoder does not give"):
        trainer_with(WeightImages()).validate(
            FeatureAutoencoder(12, compile="never"), datamodule=data, verbose=False
        )
    with pytest.raises(ValueError, match="border is 0; it must be at least 1"):
        WeightImages(border=0)


def test_a_network_of_ones_own_without_weights_on_pixels_is_refused(data):
    class Own(Identity):
        pixel_weights = property()  # hasattr() is false

    with pytest.raises(ValueError, match="which Own does not give"):
        trainer_with(WeightImages()).validate(classifier(Own), datamodule=data, verbose=False)
