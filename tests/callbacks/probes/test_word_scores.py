"""Scores of words against loops over one text at a time, and names that are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from callbacks.probes.checks import check_layers, layers_of
from callbacks.probes.representations import example_activations
from callbacks.probes.word_scores import check_score, score_names, score_words
from glassbox.metrics import top_words
from tests.helpers.planted_words import planted_data, small_classifier, text_trainer

TEXTS = ["w1 lovely w2 w3 w4", "awful", "w9 w8 w7 flat w5 w6 dull w11 w12"]
LAYERS = ("embedding", "vmask", "attention", "norm1", "ffn1_before_relu", "ffn1", "ffn2", "norm2")


def scores_of(name, trained, texts=TEXTS, **options):
    batch = trained.data.encode(texts)
    with torch.no_grad():
        activations = trained.model.representations(batch)
        return score_words(name, batch, activations, trained.model, **options)


def activations_of(trained, model):
    trainer = text_trainer()
    trainer.datamodule = trained.data
    return example_activations(trainer, model, object())


def loop_score(name: str, text: str, trained) -> list[float]:
    """The score of each word of one text, without batch, padding or autograd."""
    with torch.no_grad():
        activations = trained.model.representations(trained.data.encode([text]))
    if name == "vmask_probability":
        return activations[name][0].tolist()
    if name == "received_attention":
        heads = activations["attention_weights"][0].double().numpy()
        size = heads.shape[-1]
        return [sum(h[i, j] for h in heads for i in range(size)) / len(heads) for j in range(size)]
    h: np.ndarray = activations[name][0].double().numpy()  # capacity: equation 3
    return [float((x @ x) ** 2 / sum((x @ y) ** 2 for y in h)) for x in h]


@pytest.mark.parametrize("name", [*LAYERS, "vmask_probability", "received_attention"])
def test_a_score_in_a_padded_batch_is_that_of_a_loop_over_the_text_alone(name, trained):
    scores = scores_of(name, trained)
    assert scores.shape == (3, 9)
    for row, text in zip(scores, TEXTS, strict=True):
        expected = loop_score(name, text, trained)
        assert row[: len(expected)].tolist() == pytest.approx(expected, rel=2e-4, abs=1e-6)
        assert (row[len(expected) :] == -torch.inf).all()


def test_gradient_x_input_is_the_slope_of_the_predicted_logit_along_each_word(trained):
    scores = scores_of("gradient_x_input", trained)
    weight = trained.model.network.embedding.weight
    step = 1e-2
    for row, text in zip(scores, TEXTS, strict=True):
        batch = trained.data.encode([text])
        with torch.no_grad():
            predicted = int(trained.model.classify(batch).argmax())
            for place, token in enumerate(batch["tokens"][0].tolist()):
                logits = []
                original = weight[token].clone()
                for sign in (1, -1):  # every word occurs once: its row of the embedding is its x
                    weight[token] = original * (1 + sign * step)
                    logits.append(float(trained.model.classify(batch)[0, predicted]))
                weight[token] = original
                slope = (logits[0] - logits[1]) / (2 * step)
                assert row[place].item() == pytest.approx(abs(slope), rel=0.02, abs=2e-3)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradient_x_input_works_in_inference_mode_and_leaves_no_gradient(trained, precision):
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision != "32-true")
    with torch.inference_mode(), autocast:
        batch = trained.data.encode(TEXTS)
        activations = trained.model.representations(batch)  # autocast caches inference weights
        scores = score_words("gradient_x_input", batch, activations, trained.model)
    exact = scores_of("gradient_x_input", trained)
    real = exact > -torch.inf
    tolerance = 1e-5 if precision == "32-true" else 0.1 * exact[real].max().item()
    assert torch.allclose(scores[real], exact[real], atol=tolerance)
    assert all(parameter.grad is None for parameter in trained.model.parameters())


def test_random_scores_depend_on_text_seed_and_draw_only(trained):
    together = scores_of("random", trained, seed=5, draw=2)
    for row, text in zip(together, TEXTS, strict=True):
        alone = scores_of("random", trained, [text], seed=5, draw=2)[0]
        assert torch.equal(row[: len(alone)], alone)
        assert (row[len(alone) :] == -torch.inf).all()
    for other in ({"seed": 6, "draw": 2}, {"seed": 5, "draw": 3}, {"seed": 5 + 2**40, "draw": 2}):
        assert not torch.equal(scores_of("random", trained, **other), together)
    reordered = scores_of("random", trained, ["w2 lovely w1 w3 w4"], seed=5, draw=2)
    assert not torch.equal(reordered[0], together[0, :5])


def test_random_scores_choose_every_word_and_pair_equally_often(trained):
    batch = trained.data.encode(["w1 w2 w3 w4 w5 w6 w7 w8 w9 w10"])
    draws = 800
    chosen, pairs = torch.zeros(10), torch.zeros(10, 10)
    for draw in range(draws):
        scores = score_words("random", batch, {}, trained.model, draw=draw)
        top = top_words(scores, batch["words"], 30)[0].float()
        chosen += top
        pairs += torch.outer(top, top)
    # 3 of 10 words, and 3·2 of 10·9 pairs; five standard errors.
    assert torch.allclose(chosen / draws, torch.full((10,), 0.3), atol=5 * (0.21 / draws) ** 0.5)
    off = ~torch.eye(10, dtype=torch.bool)
    expected = torch.full((90,), 6 / 90)
    assert torch.allclose(pairs[off] / draws, expected, atol=5 * (0.0623 / draws) ** 0.5)


def test_words_of_several_tokens_have_the_mean_of_their_scores(trained):
    data = planted_data(trained.folder, tokenizer="bytes")
    here = trained._replace(data=data, model=small_classifier(data).eval())
    scores = scores_of("vmask_probability", here, ["w1 lovely w2"])
    tokens = torch.tensor(loop_score("vmask_probability", "w1 lovely w2", here))
    owner = data.encode(["w1 lovely w2"])["words"][0]
    assert scores.shape == (1, 3) and len(owner) > 3
    for word in range(3):
        mean = tokens[owner == word].mean().item()
        assert scores[0, word].item() == pytest.approx(mean, rel=1e-5)


def test_layers_of_a_deeper_network_have_names_of_their_own(trained):
    activations = activations_of(trained, small_classifier(trained.data, num_layers=2))
    assert {"layer1/ffn1", "layer2/ffn1", *LAYERS} <= set(layers_of(activations))
    assert {"features", "logits", "attention_weights"}.isdisjoint(layers_of(activations))
    assert {"layer1/ffn1", "received_attention", "random"} <= set(score_names(activations))


def test_reading_the_names_changes_neither_modes_nor_random_numbers(trained):
    model = small_classifier(trained.data)
    model.network.layers[0].eval()  # a user may freeze a part
    modes = [part.training for part in model.modules()]
    before = torch.get_rng_state()
    activations_of(trained, model)
    assert torch.equal(torch.get_rng_state(), before)
    assert [part.training for part in model.modules()] == modes and not all(modes)


def test_unknown_scores_layers_and_data_are_refused(trained):
    activations = activations_of(trained, trained.model)
    with pytest.raises(ValueError, match=r"score.*fnn1"):
        check_score("Probe", "score", "fnn1", activations)
    with pytest.raises(ValueError, match=r"layers.*random"):
        check_layers("Probe", "layers", ["ffn1", "random"], activations)
    without = activations_of(trained, small_classifier(trained.data, vmask=False))
    with pytest.raises(ValueError, match=r"score.*vmask_probability"):
        check_score("Probe", "score", "vmask_probability", without)
    with pytest.raises(ValueError, match="data module of labeled texts"):
        activations_of(trained._replace(data=None), trained.model)
