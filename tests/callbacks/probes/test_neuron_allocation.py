"""NeuronAllocation: which sentences are drawn, with which numbers, when, and under which names."""

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
    """What the plot functions are called with, by the figure's kind."""
    calls: list[tuple[str, tuple, dict]] = []
    for name in ("capacity_bars", "allocation_circle", "word_heatmap"):
        monkeypatch.setattr(
            glassbox.plots,
            name,
            lambda *given, _name=name, **options: calls.append((_name, given, options)),
        )
    return calls


def figures_of(trained, probe, model=None):
    trainer = text_trainer(probe)
    trainer.test(model or trained.model, datamodule=trained.data, verbose=False)
    return probe.figures(trainer, model or trained.model)


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
    for _, given, options in drawn:
        assert given[-1] == SENTENCE.split()
        assert options["important"].tolist() == (probability == probability.max()).tolist()
        said = "positive" if activations["logits"][0].argmax() else "negative"
        assert f"predicted {said} (" in options["title"] and SENTENCE in options["title"]
        assert "label" not in options["title"]


def test_without_sentences_typical_ones_of_the_test_set_are_drawn_with_their_label(trained, drawn):
    figures = figures_of(trained, NeuronAllocation(num_sentences=3))
    assert len(figures) == len(drawn) == 9
    rows = read_part(trained.folder, "test")
    typical = [(text, label) for text, label in rows if len(text.split()) >= 12]
    for number, label in enumerate((0, 1, 0)):
        text = [text for text, of in typical if of == label][number // 2]
        for _, given, options in drawn[3 * number : 3 * number + 3]:
            assert given[-1] == text.split()
            assert f", label {('negative', 'positive')[label]}: {text}" in options["title"]
    assert list(drawn[0][1][0]) == ["embedding", "vmask", "attention", "ffn1", "ffn2"]


def test_typical_texts_are_of_readable_length_and_of_each_class_in_turn():
    lengths = [3, 15, 40, 12, 20, 21, 16, 11]
    labels = [0, 0, 0, 1, 0, 1, 0, 1]
    assert typical_texts(lengths, labels, 5) == [1, 3, 4, 5, 6]
    assert typical_texts([200, 30, 90], [1, 1, 1], 2) == [1, 2]  # none of that length
    assert typical_texts([15], [0], 5) == [0]


def test_tokens_of_one_word_are_told_apart():
    assert token_names(["a", "long"], [0, 1, 1]) == ["a", "long 1/2", "long 2/2"]
    assert token_names([], [0]) == ["<unk>"]


def test_words_that_the_model_does_not_know_stand_in_brackets_and_the_title_says_so(trained, drawn):
    text = "w1 lovely $50 w2 it"
    figures_of(trained, NeuronAllocation([text, SENTENCE], layers=["ffn1"]))
    for _, given, options in drawn[:3]:
        assert given[-1] == ["w1", "lovely", "[$50]", "w2", "[it]"]
        assert f"{text} · [word]: unknown to the model" in options["title"]
    for _, given, options in drawn[3:]:
        assert given[-1] == SENTENCE.split()
        assert "unknown" not in options["title"]


def test_pieces_of_words_are_known_and_a_text_without_words_is_not(trained, drawn):
    data = planted_data(trained.folder, tokenizer="bytes")
    probe = NeuronAllocation(["$5"], layers=["ffn1"])
    figures_of(trained._replace(data=data), probe, small_classifier(data))
    assert drawn[0][1][-1] == ["$5 1/3", "$5 2/3", "$5 3/3"]  # a space is the first
    assert token_names(["<unk>"], [0], [True]) == ["[<unk>]"]
    assert token_names(["long"], [0, 0], [False, True]) == ["long 1/2", "[long] 2/2"]


@pytest.mark.parametrize("options", [{"tokenizer": "bytes"}, {"max_length": 6}])
def test_figures_are_drawn_of_pieces_of_words_and_of_cut_texts(trained, options):
    data = planted_data(trained.folder, **options)
    model = small_classifier(data, vmask=False)
    long = "w1 lovely " + "word " * 9
    probe = NeuronAllocation([long, "x"], layers=["embedding", "norm2"])
    figures = figures_of(trained._replace(data=data), probe, model)
    assert list(figures) == [f"allocation_{n}_{kind}" for n in (1, 2) for kind in KINDS]


def test_fit_draws_at_its_end_with_the_best_weights_and_at_its_stride(trained, drawn, tmp_path):
    model = small_classifier(trained.data)
    probe = NeuronAllocation([SENTENCE], layers=["ffn1"], figures_every_n_epochs=2)
    trainer = text_trainer(
        ModelSelection(), probe, max_epochs=3, logger=Unseen(), log_every_n_steps=8
    )
    seen = []

    def draw(*given):
        seen.append(probe.figures(*given))

    probe._draw = draw
    trainer.fit(model, datamodule=trained.data)
    titles = [options["title"] for name, _, options in drawn if name == "capacity_bars"]
    assert len(seen) == 2  # after two epochs, and when the run is closed
    assert titles[0].endswith(" · epoch 2") and " · epoch" not in titles[-1]
    with torch.no_grad():
        activations = model.eval().representations(trained.data.encode([SENTENCE]))
    said = float(activations["logits"][0].softmax(-1).max())
    assert f"({said:.2f})" in titles[-1]
    assert probe.results == {} and probe.summary_metrics == []


def test_a_run_that_was_not_validated_draws_nothing_and_fails_nowhere(trained):
    probe = NeuronAllocation([SENTENCE])
    trainer = text_trainer(probe, logger=Unseen(), limit_val_batches=0, log_every_n_steps=8)
    trainer.fit(small_classifier(trained.data), datamodule=trained.data)
    assert probe._drawn_at is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sentences": []}, r"sentences is \[\]; name at least one"),
        ({"sentences": ["good", "  "]}, "sentences is .*; name at least one, none of them empty"),
        ({"num_sentences": 0}, "NeuronAllocation: num_sentences is 0"),
        ({"percent": -1.0}, "NeuronAllocation: percent is -1.0"),
        ({"figures_every_n_epochs": 0}, "figures_every_n_epochs is 0"),
    ],
)
def test_options_out_of_range_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        NeuronAllocation(**options)


@pytest.mark.parametrize("options", [{"layers": ["ffn3"]}, {"circle_layer": "logits"}])
def test_a_layer_that_is_not_there_is_refused_before_training(options, trained):
    probe = NeuronAllocation([SENTENCE], **options)
    with pytest.raises(ValueError, match="which the network does not have; choose from embedding"):
        text_trainer(probe).fit(small_classifier(trained.data), datamodule=trained.data)
