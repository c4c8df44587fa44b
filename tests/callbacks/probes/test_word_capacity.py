"""WordCapacity against a loop over texts and words."""

from __future__ import annotations

import statistics

import pytest
import torch

from callbacks import WordCapacity
from tests.helpers.planted_words import KEYS, read_part, small_classifier, text_trainer


def loop_means(trained, part: str, layer: str, percent: float) -> dict[str, float]:
    """Mean capacity of all, important and other words (equation 3), one text at a time."""
    groups: dict[str, list[float]] = {"all": [], "important": [], "other": []}
    for text, _ in read_part(trained.folder, part):
        with torch.no_grad():
            activations = trained.model.representations(trained.data.encode([text]))
        h = activations[layer][0].double().numpy()
        probability = activations["vmask_probability"][0].tolist()
        number = max(1, int(percent * len(h) // 100))
        important = sorted(range(len(h)), key=lambda i: -probability[i])[:number]
        for i, x in enumerate(h):
            share = float((x @ x) ** 2 / sum((x @ y) ** 2 for y in h))
            groups["all"].append(share)
            groups["important" if i in important else "other"].append(share)
    return {name: statistics.fmean(values) for name, values in groups.items()}


@pytest.mark.parametrize("stage", ["val", "test"])
@pytest.mark.parametrize("percent", [30.0, 5.0])
def test_table_3_is_that_of_a_loop_over_words(trained, stage, percent):
    probe = WordCapacity(percent=percent)
    run = text_trainer(probe).validate if stage == "val" else text_trainer(probe).test
    run(trained.model, datamodule=trained.data, verbose=False)
    part = {"val": "dev", "test": "test"}[stage]
    assert len(probe.results) == 8
    for layer in ("ffn1", "ffn1_before_relu"):
        means = loop_means(trained, part, layer, percent)
        means["contrast"] = means["important"] / means["other"]
        for group, expected in means.items():
            value = probe.results[f"{stage}/capacity/{layer}_{group}"]
            assert value.shape == (1,) and float(value) == pytest.approx(expected, rel=1e-4)
    groups = ("all", "important", "other")
    assert probe.summary_metrics == [f"{stage}/capacity/ffn1_{group}" for group in groups]


def test_planted_key_words_get_more_capacity_than_noise(trained):
    probe = WordCapacity()
    text_trainer(probe).test(trained.model, datamodule=trained.data, verbose=False)
    for layer in ("ffn1", "ffn1_before_relu"):
        assert float(probe.results[f"test/capacity/{layer}_contrast"]) > 1.1
    words = " ".join(KEYS[0] + KEYS[1] + ["w1", "w2", "w3"])
    with torch.no_grad():
        activations = trained.model.representations(trained.data.encode([words]))
    probability = activations["vmask_probability"][0]
    assert probability[:8].median() > 0.5 > probability[8:].max()  # the mask knows key words


def test_without_a_mask_there_is_no_important_word(trained):
    model = small_classifier(trained.data, vmask=False)
    probe = WordCapacity(["ffn2", "layer1/ffn1"])
    with pytest.raises(ValueError, match="layers names 'layer1/ffn1', which the network does not"):
        text_trainer(probe).test(model, datamodule=trained.data, verbose=False)
    probe = WordCapacity(["ffn2"])
    text_trainer(probe).test(model, datamodule=trained.data, verbose=False)
    assert set(probe.results) == {"test/capacity/ffn2_all"}
    assert probe.summary_metrics == ["test/capacity/ffn2_all"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"percent": 100.0}, "WordCapacity: percent is 100.0; it must be at least 0"),
        ({"layers": []}, "WordCapacity: layers is empty; name one"),
        ({"every_n_epochs": 0}, "every_n_epochs is 0"),
    ],
)
def test_options_out_of_range_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        WordCapacity(**options)
