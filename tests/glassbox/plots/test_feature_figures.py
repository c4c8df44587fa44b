"""What all figures of features have in common: odd sizes, broken models, texts inside the paper."""

import numpy as np
import pytest

from glassbox.plots import (
    dimensionality_plot,
    feature_vectors,
    first_features,
    gram_matrix,
    norms_and_biases,
    superposition_sheet,
    weight_frames,
    weights_over_time,
)

RNG = np.random.default_rng(0)


def draw_all(weights, names=None, title="A title of ordinary length"):
    """Every figure of the models (S, N, H), by its function's name."""
    count, size, _ = weights.shape
    biases = RNG.normal(size=(count, size))
    figures = {
        "gram_matrix": gram_matrix(weights, biases, names=names, title=title),
        "own scales": gram_matrix(weights, names=names, shared_scale=False, title=title),
        "norms_and_biases": norms_and_biases(weights, biases, names=names, title=title),
        "superposition_sheet": superposition_sheet(weights, names=names, title=title),
        "first_features": first_features(weights[0], title=title),
        "dimensionality_plot": dimensionality_plot(
            weights, np.geomspace(0.01, 1, count), title=title
        ),
        "weights_over_time": weights_over_time(
            weights, np.arange(count), losses=[3.0, 2.0], loss_steps=[0, count], title=title
        ),
    }
    for circular in (True, False):
        figures[f"feature_vectors {circular}"] = feature_vectors(
            weights, circular=circular, names=names, captions=names, title=title
        )
    return figures


def assert_inside(figure, name):
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    texts = [text for axes in figure.axes for text in [*axes.texts, axes.title, axes._left_title]]
    for item in [*figure.axes, *figure.texts, *figure.legends, *texts]:
        box = item.get_window_extent()
        assert box.x0 >= -1 and box.y0 >= -1, (name, item)
        assert box.x1 <= width + 1 and box.y1 <= height + 1, (name, item)


@pytest.mark.parametrize(
    ("count", "size", "hidden"),
    [(1, 1, 1), (2, 2, 1), (1, 7, 2), (6, 40, 3), (3, 20, 5), (1, 400, 30)],
)
def test_every_figure_of_any_size_keeps_its_texts_on_the_paper(count, size, hidden):
    weights = RNG.normal(size=(count, size, hidden))
    names = [f"ℓ = {0.1 * i:.1f}" for i in range(count)]
    for name, figure in draw_all(weights, names).items():
        assert_inside(figure, name)


def test_models_that_are_zero_or_not_finite_stand_beside_others():
    weights = RNG.normal(size=(4, 9, 3))
    weights[1] = 0.0
    weights[2, 4, 1] = np.nan
    weights[3, 0, 0] = np.inf
    for name, figure in draw_all(weights).items():
        assert_inside(figure, name)
    said = [t.get_text() for axes in feature_vectors(weights).axes for t in axes.texts]
    assert said.count("not finite") == 4  # two models, two views each


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_nothing_but_zeros_or_nan_can_be_drawn(value):
    weights = np.full((2, 5, 2), value)
    for name, figure in draw_all(weights).items():
        assert_inside(figure, name)
    (frame,) = weight_frames(weights[:1], [0], losses=[np.nan], loss_steps=[0])
    assert frame.ndim == 3


def test_names_with_signs_of_mathematics_and_without_glyphs_are_drawn_as_text():
    weights = RNG.normal(size=(3, 5, 2))
    odd = ["$a_b$ $", "\n日", "a very long name of a model " * 5]
    for name, figure in draw_all(weights, odd, title="costs $5 and $6: 日本").items():
        assert_inside(figure, name)
        texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
        assert not any(text.get_parse_math() for text in texts if "$" in text.get_text()), name


@pytest.mark.parametrize(
    "draw", [gram_matrix, feature_vectors, superposition_sheet, first_features]
)
def test_arrays_that_are_no_weights_are_refused(draw):
    for shape in [(3,), (2, 0, 3), (1, 2, 3, 4)]:
        with pytest.raises(ValueError, match="weights has shape"):
            draw(np.zeros(shape))


def test_names_and_biases_must_be_as_many_as_models():
    weights = np.zeros((2, 5, 3))
    with pytest.raises(ValueError, match="names has 1 entries, expected 2"):
        gram_matrix(weights, names=["one"])
    with pytest.raises(ValueError, match="captions has 3 entries, expected 2"):
        feature_vectors(weights, captions=["a", "b", "c"])
    for draw in (gram_matrix, norms_and_biases):
        with pytest.raises(ValueError, match=r"biases has shape \(5,\).* \(2, 5\)"):
            draw(weights, np.zeros(5))
