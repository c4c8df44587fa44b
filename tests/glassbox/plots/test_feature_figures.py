"""Figures of features with any number of features and models, and with broken or unnamed models."""

import numpy as np
import pytest

from glassbox.plots import (
    dimensionality_plot,
    feature_vectors,
    first_features,
    gram_matrix,
    neuron_directions,
    norms_and_biases,
    superposition_sheet,
    weight_frames,
    weights_over_time,
)

RNG = np.random.default_rng(0)


def draw_all(weights, names=None, title="A title of ordinary length"):
    """Draw every figure of the models (S, N, H), with warnings as errors."""
    count, size, _ = weights.shape
    biases = RNG.normal(size=(count, size))
    activity = np.geomspace(0.01, 1, count)
    curve = {"losses": [3.0, 2.0], "loss_steps": [0, count]}
    figures = [
        gram_matrix(weights, biases, names=names, title=title),
        norms_and_biases(weights, biases, names=names, title=title),
        superposition_sheet(weights, names=names, title=title),
        neuron_directions(weights, names=names, title=title),
        first_features(weights[0], title=title),
        dimensionality_plot(weights, activity, title=title),
        weights_over_time(weights, np.arange(count), **curve, title=title),
        feature_vectors(weights, names=names, captions=names, title=title),
    ]
    for figure in figures:
        figure.canvas.draw()
    return figures


@pytest.mark.parametrize(("count", "size", "hidden"), [(1, 1, 1), (1, 160, 4)])
def test_models_of_any_size_can_be_drawn(count, size, hidden):
    draw_all(RNG.normal(size=(count, size, hidden)), [f"ℓ = {i}" for i in range(count)])


def test_models_that_are_zero_or_not_finite_can_be_drawn_beside_others():
    weights = RNG.normal(size=(4, 9, 3))
    weights[1] = 0.0
    weights[2, 4, 1] = np.nan
    weights[3, 0, 0] = np.inf
    draw_all(weights)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_models_of_zeros_or_nan_alone_can_be_drawn(value):
    weights = np.full((1, 5, 2), value)
    draw_all(weights)
    (frame,) = weight_frames(weights, [0], losses=[np.nan], loss_steps=[0])
    assert frame.ndim == 3


def test_dollars_line_feeds_and_missing_glyphs_in_names_are_drawn_as_text():
    odd = ["$a_b$ $", "\n日", "a very long name of a model " * 5]
    for figure in draw_all(RNG.normal(size=(3, 5, 2)), odd, title="costs $5 and $6: 日本"):
        texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
        assert not any(text.get_parse_math() for text in texts if "$" in text.get_text())
