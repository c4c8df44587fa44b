import numpy as np
import pytest

from glassbox.plots import word_heatmap
from glassbox.plots.word_heatmap import normalize

RNG = np.random.default_rng(0)
LAYERS = ("embedding", "vmask", "attention", "ffn1", "ffn2")


def measures(count: int, scale: float = 1.0):
    """States, and interference and polysemanticity written from equations 1 and 2."""
    states = scale * RNG.normal(size=(count, 12))
    interference = np.array([[(a @ b) ** 2 for b in states] for a in states])
    poly = [
        sum((a / np.linalg.norm(a) @ b) ** 2 for j, b in enumerate(states) if j != i)
        for i, a in enumerate(states)
    ]
    return states, interference, np.array(poly)


def layers(count: int):
    parts = {name: measures(count, 10.0**place) for place, name in enumerate(LAYERS)}
    return {name: p[1] for name, p in parts.items()}, {name: p[2] for name, p in parts.items()}


def panels(figure):
    return [axes for axes in figure.axes if axes.images]


def strips(figure):
    return [axes for axes in figure.axes if axes.patches and not axes.images and axes.texts]


def test_panels_show_squared_cosines_without_the_diagonal():
    states, interference, _ = measures(6)
    (axes,) = panels(word_heatmap({"ffn1": interference}, list("abcdef")))
    shown = axes.images[0].get_array()
    norms = np.linalg.norm(states, axis=1)
    expected = (states @ states.T / np.outer(norms, norms)) ** 2
    off = ~np.eye(6, dtype=bool)
    assert np.asarray(shown[off]) == pytest.approx(expected[off])
    assert shown.mask.tolist() == np.eye(6, dtype=bool).tolist()
    assert (~axes.images[1].get_array().mask == np.eye(6, dtype=bool)).all()


def test_polysemanticity_is_a_bar_per_row_on_the_layers_own_scale():
    interference, poly = layers(4)
    figure = word_heatmap(interference, list("abcd"), polysemanticity=poly)
    drawn = strips(figure)
    assert len(drawn) == 5
    for axes, panel, values in zip(drawn, panels(figure), poly.values(), strict=True):
        widths = {
            round(bar.get_y() + bar.get_height() / 2): bar.get_width() for bar in axes.patches
        }
        assert [widths[i] for i in range(4)] == pytest.approx(list(values))
        assert axes.get_xlim() == pytest.approx((0, values.max()))
        assert axes.get_ylim() == panel.get_ylim()
        assert axes.get_position().y0 == panel.get_position().y0


def test_zero_vectors_and_nan_are_masked():
    _, interference, poly = measures(4)
    interference[1] = interference[:, 1] = 0
    interference[2] = interference[:, 2] = np.nan
    poly[2] = np.nan
    words = ["$a_b$", "\\x", "日", "long" * 30]
    figure = word_heatmap({"ffn1": interference}, words, polysemanticity={"ffn1": poly})
    figure.canvas.draw()
    expected = np.eye(4, dtype=bool)
    expected[[1, 2]] = expected[:, [1, 2]] = True
    assert (panels(figure)[0].images[0].get_array().mask == expected).all()


@pytest.mark.parametrize("values", [np.eye(3), np.zeros((3, 3))])
def test_a_text_without_interference_can_be_drawn(values):
    poly = {"a": np.zeros(3)}
    word_heatmap({"a": values}, list("abc"), polysemanticity=poly).canvas.draw()


def test_equal_words_interfere_fully():
    assert normalize(np.full((3, 3), 7.0), "a") == pytest.approx(np.ones((3, 3)))


@pytest.mark.parametrize(
    ("interference", "argument"),
    [
        ({}, "interference"),
        ({"a": -np.eye(2)}, "interference of a"),
        ({"a": [[1, 0.5], [0.1, 1]]}, "interference of a"),
        ({"a": [[1, 5], [5, 1]]}, "interference of a"),
    ],
)
def test_values_that_are_not_interference_are_refused(interference, argument):
    with pytest.raises(ValueError, match=argument):
        word_heatmap(interference, ["a", "b"])


def test_polysemanticity_must_be_positive_and_of_the_same_layers():
    for poly in ({"b": np.ones(2)}, {"a": [-1, 1]}):
        with pytest.raises(ValueError, match="polysemanticity"):
            word_heatmap({"a": np.eye(2)}, ["a", "b"], polysemanticity=poly)
