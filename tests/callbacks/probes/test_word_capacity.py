"""WordCapacity against a loop over texts and words."""

from __future__ import annotations

import statistics

import pytest
import torch

from callbacks import WordCapacity
from tests.helpers.planted_words import KEYS, read_part, small_classifier, text_trainer

LAYERS = ("ffn1", "ffn1_before_relu")


def loop_means(trained, part: str, percent: float) -> dict[str, dict[str, float]]:
    """Mean capacity of all, important and other words (equation 3), one text at a time."""
    groups = {layer: {"all": [], "important": [], "other": []} for layer in LAYERS}
    for text, _ in read_part(trained.folder, part):
        with torch.no_grad():
            activations = trained.model.representations(trained.data.encode([text]))
        probability = activations["vmask_probability"][0].tolist()
        number = max(1, int(percent * len(probability) // 100))
        important = sorted(range(len(probability)), key=lambda i: -probability[i])[:number]
        for layer in LAYERS:
            h = activations[layer][0].double().numpy()
            for i, x in enumerate(h):
                capacity = float((x @ x) ** 2 / sum((x @ y) ** 2 for y in h))
                groups[layer]["all"].append(capacity)
                groups[layer]["important" if i in important else "other"].append(capacity)
    return {
        layer: {name: statistics.fmean(values) for name, values in of_layer.items()}
        for layer, of_layer in groups.items()
    }


@pytest.mark.parametrize(("stage", "part", "percent"), [("val", "dev", 5.0), ("test", "test", 30)])
def test_table_3_agrees_with_a_loop_over_words(trained, stage, part, percent):
    probe = WordCapacity(percent=percent)
    run = getattr(text_trainer(probe), {"val": "validate", "test": "test"}[stage])
    run(trained.model, datamodule=trained.data, verbose=False)
    assert len(probe.results) == 8
    for layer, means in loop_means(trained, part, percent).items():
        means["contrast"] = means["important"] / means["other"]
        for group, expected in means.items():
            value = probe.results[f"{stage}/capacity/{layer}_{group}"]
            assert value.shape == (1,) and float(value) == pytest.approx(expected, rel=1e-4)
        assert stage == "val" or means["contrast"] > 1.1  # planted key words
    groups = ("all", "important", "other")
    assert probe.summary_metrics == [f"{stage}/capacity/ffn1_{group}" for group in groups]


def test_the_mask_keeps_planted_key_words(trained):
    words = " ".join(KEYS[0] + KEYS[1] + ["w1", "w2", "w3"])
    with torch.no_grad():
        activations = trained.model.representations(trained.data.encode([words]))
    probability = activations["vmask_probability"][0]
    assert probability[:8].median() > 0.5 > probability[8:].max()


def test_without_a_mask_no_word_is_important(trained):
    model = small_classifier(trained.data, vmask=False)
    probe = WordCapacity(["ffn2"])
    text_trainer(probe).test(model, datamodule=trained.data, verbose=False)
    assert set(probe.results) == {"test/capacity/ffn2_all"}
    assert probe.summary_metrics == ["test/capacity/ffn2_all"]
    with pytest.raises(ValueError, match=r"layers.*layer1/ffn1"):
        text_trainer(WordCapacity(["ffn2", "layer1/ffn1"])).test(model, datamodule=trained.data)


@pytest.mark.parametrize("options", [{"percent": 100.0}, {"layers": []}, {"every_n_epochs": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        WordCapacity(**options)
