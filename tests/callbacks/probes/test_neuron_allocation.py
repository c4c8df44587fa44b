"""NeuronAllocation: which sentences are drawn, with which numbers, names and when."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import glassbox.plots
from callbacks import ModelSelection, NeuronAllocation
from callbacks.probes.neuron_allocation import token_names, typical_texts
from tests.helpers.loggers import Unseen
from tests.helpers.planted_words import planted_data, read_part, small_classifier, text_trainer

SENTENCE = "w1 lovely w2 w3 awful w4"
KINDS = ("capacity", "circle", "interference")


@pytest.fixture
def drawn(monkeypatch) -> list[tuple[str, tuple, dict]]:
    """Names and arguments of the calls of plot functions."""
    calls: list[tuple[str, tuple, dict]] = []
    for name in ("capacity_bars", "allocation_circle", "word_heatmap"):
        monkeypatch.setattr(
            glassbox.plots,
            name,
            lambda *given, _name=name, **options: calls.append((_name, given, options)),
        )
    return calls


def figures_of(trained, probe, model=None, data=None):
    trainer, model = text_trainer(probe), model or trained.model
    trainer.test(model, datamodule=data or trained.data, verbose=False)
    return probe.figures(trainer, model)


def test_figures_have_the_numbers_of_the_equations(trained, drawn):
    figures = figures_of(trained, NeuronAllocation([SENTENCE], layers=["ffn1", "ffn2"]))
    assert list(figures) == [f"allocation_1_{kind}" for kind in KINDS]
    with torch.no_grad():
        activations = trained.model.representations(trained.data.encode([SENTENCE]))
    (bars, circle, heat) = drawn
    for layer in ("ffn1", "ffn2"):
        h = activations[layer][0].double().numpy()
        products = h @ h.T
        own = np.diag(products)
        overlap = (products**2).sum(axis=1) / own - own  # P_i
        np.testing.assert_allclose(bars[1][0][layer], own / (own + overlap), rtol=1e-4)
        np.testing.assert_allclose(heat[1][0][layer], products**2, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(heat[2]["polysemanticity"][layer], overlap, rtol=1e-3, atol=1e-5)
    h = activations["ffn1_before_relu"][0].double().numpy()
    np.testing.assert_allclose(circle[1][1], h @ h.T, rtol=1e-3, atol=1e-4)
    assert (h < 0).any()  # before the ReLU
    probability = activations["vmask_probability"][0]
    predicted = "positive" if activations["logits"][0].argmax() else "negative"
    for _, given, options in drawn:
        assert given[-1] == SENTENCE.split()
        assert options["important"].tolist() == (probability == probability.max()).tolist()
        assert predicted in options["title"] and SENTENCE in options["title"]
        assert "label" not in options["title"]


def test_the_default_sentences_are_typical_ones_of_the_test_set_with_their_label(trained, drawn):
    figures = figures_of(trained, NeuronAllocation(num_sentences=3))
    assert len(figures) == len(drawn) == 9
    rows = read_part(trained.folder, "test")
    typical = [(text, label) for text, label in rows if len(text.split()) >= 12]
    for number, label in enumerate((0, 1, 0)):
        text = [text for text, of in typical if of == label][number // 2]
        for _, given, options in drawn[3 * number : 3 * number + 3]:
            assert given[-1] == text.split()
            assert f"label {('negative', 'positive')[label]}: {text}" in options["title"]
    assert list(drawn[0][1][0]) == ["embedding", "vmask", "attention", "ffn1", "ffn2"]


@pytest.mark.parametrize(
    ("lengths", "labels", "number", "expected"),
    [
        ([3, 15, 40, 12, 20, 21, 16, 11], [0, 0, 0, 1, 0, 1, 0, 1], 5, [1, 3, 4, 5, 6]),
        ([200, 30, 90], [1, 1, 1], 2, [1, 2]),  # none of that length
        ([15], [0], 5, [0]),
    ],
)
def test_typical_texts_are_of_readable_length_and_of_each_class_in_turn(
    lengths, labels, number, expected
):
    assert typical_texts(lengths, labels, number) == expected


@pytest.mark.parametrize(
    ("words", "numbers", "unknown", "expected"),
    [
        (["a", "long"], [0, 1, 1], None, ["a", "long 1/2", "long 2/2"]),
        ([], [0], None, ["<unk>"]),
        (["<unk>"], [0], [True], ["[<unk>]"]),
        (["long"], [0, 0], [False, True], ["long 1/2", "[long] 2/2"]),
    ],
)
def test_tokens_are_named_by_word_and_part(words, numbers, unknown, expected):
    assert token_names(words, numbers, unknown) == expected


def test_unknown_words_are_in_brackets_which_the_title_explains(trained, drawn):
    text = "w1 lovely $50 w2 it"
    figures_of(trained, NeuronAllocation([text, SENTENCE], layers=["ffn1"]))
    for _, given, options in drawn[:3]:
        assert given[-1] == ["w1", "lovely", "[$50]", "w2", "[it]"]
        assert "unknown" in options["title"]
    for _, given, options in drawn[3:]:
        assert given[-1] == SENTENCE.split()
        assert "unknown" not in options["title"]


def test_pieces_of_words_are_known(trained, drawn):
    data = planted_data(trained.folder, tokenizer="bytes")
    probe = NeuronAllocation(["$5"], layers=["ffn1"])
    figures_of(trained, probe, small_classifier(data), data)
    assert drawn[0][1][-1] == ["$5 1/3", "$5 2/3", "$5 3/3"]  # a space is the first


@pytest.mark.parametrize("options", [{"tokenizer": "bytes"}, {"max_length": 6}])
def test_figures_are_drawn_of_pieces_of_words_and_of_cut_texts(trained, options):
    data = planted_data(trained.folder, **options)
    probe = NeuronAllocation(["w1 lovely word word word word word", "x"], layers=["norm2"])
    figures = figures_of(trained, probe, small_classifier(data, vmask=False), data)
    assert list(figures) == [f"allocation_{n}_{kind}" for n in (1, 2) for kind in KINDS]


@pytest.mark.parametrize("epochs", [3, 4])
def test_fit_draws_at_its_stride_and_once_at_its_end_with_the_best_weights(trained, drawn, epochs):
    model = small_classifier(trained.data)
    probe = NeuronAllocation([SENTENCE], layers=["ffn1"], figures_every_n_epochs=2)
    probe._draw = probe.figures
    trainer = text_trainer(
        ModelSelection(), probe, max_epochs=epochs, limit_train_batches=3, logger=Unseen()
    )
    trainer.fit(model, datamodule=trained.data)
    titles = [options["title"] for name, _, options in drawn if name == "capacity_bars"]
    assert len(titles) == 2  # after two epochs, and at the end
    assert titles[0].endswith("epoch 2") and "epoch" not in titles[1]
    with torch.no_grad():
        activations = model.eval().representations(trained.data.encode([SENTENCE]))
    assert f"({float(activations['logits'][0].softmax(-1).max()):.2f})" in titles[1]
    assert probe.results == {} and probe.summary_metrics == []


def test_a_run_without_validation_draws_nothing(trained):
    probe = NeuronAllocation([SENTENCE])
    trainer = text_trainer(probe, logger=Unseen(), limit_val_batches=0, limit_train_batches=3)
    trainer.fit(small_classifier(trained.data), datamodule=trained.data)
    assert probe._drawn_at is None


@pytest.mark.parametrize(
    "options",
    [
        {"sentences": []},
        {"sentences": ["good", "  "]},
        {"num_sentences": 0},
        {"percent": -1.0},
        {"figures_every_n_epochs": 0},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        NeuronAllocation(**options)


@pytest.mark.parametrize("options", [{"layers": ["ffn3"]}, {"circle_layer": "logits"}])
def test_a_layer_that_the_network_lacks_is_refused_before_training(options, trained):
    with pytest.raises(ValueError, match=next(iter(options))):
        text_trainer(NeuronAllocation([SENTENCE], **options)).fit(
            small_classifier(trained.data), datamodule=trained.data
        )
