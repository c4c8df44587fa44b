import numpy as np
import pytest

from glassbox.plots import gram_matrix, norms_and_biases

RNG = np.random.default_rng(0)


def images(figure):
    return [axes.images[0] for axes in figure.axes if axes.images]


def bars(figure, name):
    """Widths of the bars under a heading, a row of them for each model."""
    return [
        np.array([bar.get_width() for bar in axes.patches])
        for axes in figure.axes
        if name in [text.get_text() for text in axes.texts]
    ]


def test_matrices_and_biases_share_a_scale_that_is_white_at_zero():
    weights, biases = RNG.normal(size=(3, 6, 2)), 20 * RNG.normal(size=(3, 6))
    figure = gram_matrix(weights, biases)
    drawn = images(figure)
    assert len(drawn) == 6
    for model in range(3):
        expected = [[sum(a * b) for b in weights[model]] for a in weights[model]]
        assert np.asarray(drawn[2 * model].get_array()) == pytest.approx(np.array(expected))
        assert np.asarray(drawn[2 * model + 1].get_array())[:, 0] == pytest.approx(biases[model])
    largest = max(np.abs(biases).max(), np.abs(weights @ weights.swapaxes(1, 2)).max())
    assert {(image.norm.vmin, image.norm.vmax) for image in drawn} == {(-largest, largest)}
    middle = drawn[0].cmap(drawn[0].norm(0.0))
    assert min(middle[:3]) > 0.95


def test_bars_are_norms_and_interference_on_scales_shared_by_all_panels():
    triangle = np.array([[np.cos(a), np.sin(a)] for a in (0, 2 * np.pi / 3, 4 * np.pi / 3)])
    weights = np.stack([triangle, np.array([[1.0, 0], [0, 2.0], [0, 0]])])
    figure = gram_matrix(weights)
    norms, overlaps = bars(figure, "norm"), bars(figure, "interf.")
    assert norms[0] == pytest.approx([1, 1, 1]) and norms[1] == pytest.approx([1, 2, 0])
    assert overlaps[0] == pytest.approx([0.5, 0.5, 0.5])  # two cosines of -1/2, squared
    assert overlaps[1] == pytest.approx([0, 0, 0])
    limits = {axes.get_xlim() for axes in figure.axes if axes.patches}
    assert sorted(high for _, high in limits) == pytest.approx([0.5, 2.0])


def test_interference_of_a_feature_of_small_norm_is_pale():
    weights = np.array([[1.0, 0], [0, 1.0], [0.01, 0.01]])
    (axes,) = (a for a in gram_matrix(weights).axes if "interf." in [t.get_text() for t in a.texts])
    assert [bar.get_alpha() is not None for bar in axes.patches] == [False, False, True]


def test_a_model_that_is_not_finite_does_not_change_the_others_scale():
    weights = np.stack([np.eye(3), np.full((3, 3), np.nan)])
    first, second = images(gram_matrix(weights))
    assert first.norm.vmax == second.norm.vmax == 1.0
    assert np.asarray(second.get_array().mask).all()


def test_norms_and_negative_biases_are_drawn_per_feature():
    weights, biases = RNG.normal(size=(2, 8, 3)), RNG.normal(size=(2, 8))
    figure = norms_and_biases(weights, biases, names=["ℓ = 1", "ℓ = 0.5"])
    drawn = [
        {line.get_label(): line.get_ydata() for line in axes.lines}
        for axes in figure.axes
        if "norm" in [line.get_label() for line in axes.lines]
    ]
    assert len(drawn) == 2
    for model, lines in enumerate(drawn):
        expected = [np.sqrt((row**2).sum()) for row in weights[model]]
        assert lines["norm"] == pytest.approx(expected)
        assert lines["-bias"] == pytest.approx(-biases[model])


def test_biases_that_are_not_finite_are_left_out():
    figure = norms_and_biases(np.eye(3), [0.0, np.nan, 1.0])
    (line,) = (ln for axes in figure.axes for ln in axes.lines if ln.get_label() == "-bias")
    assert np.isnan(line.get_ydata()).tolist() == [False, True, False]


def test_partners_are_framed_in_every_matrix():
    weights = RNG.normal(size=(2, 12, 3))
    figure = gram_matrix(weights, RNG.normal(size=(2, 12)), pairs="correlated: active together")
    matrices = [image.axes for image in images(figure) if image.get_array().shape == (12, 12)]
    assert len(matrices) == 2
    for axes in matrices:
        assert [(p.get_xy(), p.get_width(), p.get_height()) for p in axes.patches] == [
            ((first - 0.5, first - 0.5), 2, 2) for first in range(0, 12, 2)
        ]
