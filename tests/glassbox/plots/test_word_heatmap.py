from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import LogNorm, PowerNorm

from glassbox.plots import word_heatmap
from glassbox.plots.interference_colors import color_norm, normalize

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
    found = {name: measures(count, 10.0**place) for place, name in enumerate(LAYERS)}
    return ({name: f[1] for name, f in found.items()}, {name: f[2] for name, f in found.items()})


def panels(figure):
    return [axes for axes in figure.axes if axes.images]


def strips(figure):
    return [axes for axes in figure.axes if axes.patches and not axes.images and axes.texts]


def notes(figure) -> str:
    return " ".join(text.get_text() for text in figure.texts)


def test_a_panel_a_layer_shows_squared_cosines_and_leaves_the_diagonal_out():
    states, interference, _ = measures(6)
    (axes,) = panels(word_heatmap({"ffn1": interference}, list("abcdef")))
    shown = axes.images[0].get_array()
    norms = np.linalg.norm(states, axis=1)
    expected = (states @ states.T / np.outer(norms, norms)) ** 2
    off = ~np.eye(6, dtype=bool)
    assert np.asarray(shown[off]) == pytest.approx(expected[off])
    assert shown.mask.tolist() == np.eye(6, dtype=bool).tolist()
    assert (~axes.images[1].get_array().mask == np.eye(6, dtype=bool)).all()


def test_all_layers_share_one_color_scale_that_says_how_it_was_normalized():
    interference, _ = layers(5)
    for scale, kind, said in (("cosine", PowerNorm, "cosine²"), ("log", LogNorm, "logarithmic")):
        figure = word_heatmap(interference, list("abcde"), scale=scale)
        norms = [axes.images[0].norm for axes in panels(figure)]
        assert len(norms) == 5 and all(norm is norms[0] for norm in norms)
        assert isinstance(norms[0], kind)
        assert said in figure.axes[-1].get_xlabel()


def test_a_logarithmic_scale_spans_at_most_four_decades_and_says_what_lies_below():
    interference, _ = layers(5)  # 4 layers apart: 16 decades
    norm = color_norm(list(interference.values()), "log")
    off = ~np.eye(5, dtype=bool)
    highest = max(array[off].max() for array in interference.values())
    assert (norm.vmin, norm.vmax) == pytest.approx((highest / 1e4, highest))
    figure = word_heatmap(interference, list("abcde"), scale="log")
    assert "palest: that or less" in figure.axes[-1].get_xlabel()
    narrow = word_heatmap({"a": [[1, 2.0], [2.0, 9]]}, ["a", "b"], scale="log")
    assert "palest" not in narrow.axes[-1].get_xlabel()


def test_polysemanticity_stands_beside_each_row_on_the_layer_s_own_scale():
    interference, poly = layers(4)
    figure = word_heatmap(interference, list("abcd"), polysemanticity=poly)
    found = strips(figure)
    assert len(found) == 5
    for axes, panel, values in zip(found, panels(figure), poly.values(), strict=True):
        widths = {
            round(bar.get_y() + bar.get_height() / 2): bar.get_width() for bar in axes.patches
        }
        assert [widths[i] for i in range(4)] == pytest.approx(list(values))
        assert axes.get_xlim() == pytest.approx((0, values.max()))
        assert axes.get_ylim() == panel.get_ylim()
        assert axes.get_position().y0 == panel.get_position().y0


@pytest.mark.parametrize("count", [1, 2, 8, 20, 40, 70])
def test_words_stand_at_every_row_and_column_inside_the_figure(count):
    interference, poly = layers(count)
    words = [f"word{i}" for i in range(count)]
    figure = word_heatmap(
        interference, words, polysemanticity=poly, important=np.arange(count) % 3 == 0
    )
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    texts = [text for axes in figure.axes for text in axes.texts]
    for item in [*figure.axes, *figure.texts, *texts]:
        box = item.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width + 1 and box.y1 <= height, item
    left = [t for t in panels(figure)[0].texts if t.get_text() in words and not t.get_rotation()]
    assert [text.get_text() for text in left] == words[:60]
    for one, next_one in pairwise(left):
        assert not one.get_window_extent().overlaps(next_one.get_window_extent())
    upright = [t for axes in panels(figure) for t in axes.texts if t.get_rotation() == 90]
    assert len(upright) % min(count, 60) == 0 and upright
    assert ("the first 60 of 70" in notes(figure)) == (count == 70)


def test_zero_vectors_and_nan_are_gray_and_the_note_says_so():
    _, interference, poly = measures(4)
    interference[1] = interference[:, 1] = 0
    interference[2] = interference[:, 2] = np.nan
    poly[2] = np.nan
    words = ["$a_b$", "\\x", "日", "long" * 30]
    for scale, hidden in (("cosine", [1, 2]), ("log", [2])):
        figure = word_heatmap(
            {"ffn1": interference}, words, polysemanticity={"ffn1": poly}, scale=scale
        )
        figure.canvas.draw()
        expected = np.eye(4, dtype=bool)
        expected[hidden] = expected[:, hidden] = True
        assert (panels(figure)[0].images[0].get_array().mask == expected).all()
        assert "dark gray: not defined" in notes(figure)
    assert "dark gray" not in notes(word_heatmap({"ffn1": np.eye(4)}, words))


def test_a_text_that_interferes_nowhere_can_be_drawn():
    for scale in ("cosine", "log"):
        for values in (np.eye(3), np.zeros((3, 3))):
            figure = word_heatmap(
                {"a": values}, list("abc"), polysemanticity={"a": np.zeros(3)}, scale=scale
            )
            figure.canvas.draw()
    assert "P 0" in [text.get_text() for axes in figure.axes for text in axes.texts]


def test_equal_words_interfere_fully():
    assert normalize(np.full((3, 3), 7.0), "a") == pytest.approx(np.ones((3, 3)))


def test_what_is_no_interference_is_refused():
    words = ["a", "b"]
    with pytest.raises(ValueError, match="no layer"):
        word_heatmap({}, words)
    with pytest.raises(ValueError, match="no word"):
        word_heatmap({"a": np.eye(2)}, [])
    with pytest.raises(ValueError, match="scale is cosine or log, not 'root'"):
        word_heatmap({"a": np.eye(2)}, words, scale="root")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="interference of a has shape"):
        word_heatmap({"a": np.eye(3)}, words)
    with pytest.raises(ValueError, match="interference of a is negative"):
        word_heatmap({"a": -np.eye(2)}, words)
    with pytest.raises(ValueError, match="interference of a is not symmetric"):
        word_heatmap({"a": [[1, 0.5], [0.1, 1]]}, words)
    with pytest.raises(ValueError, match="larger than its diagonal allows"):
        word_heatmap({"a": [[1, 5], [5, 1]]}, words)
    with pytest.raises(ValueError, match="they must be the same"):
        word_heatmap({"a": np.eye(2)}, words, polysemanticity={"b": np.ones(2)})
    with pytest.raises(ValueError, match="polysemanticity of a is negative"):
        word_heatmap({"a": np.eye(2)}, words, polysemanticity={"a": [-1, 1]})
