import numpy as np
import pytest

from glassbox.plots import capacity_bars
from glassbox.plots.word_labels import (
    IMPORTANT,
    ORDINARY,
)

RNG = np.random.default_rng(0)
WORDS = ["a", "gorgeous", ",", "witty", ",", "seductive", "movie"]
CAPACITY = {layer: RNG.random(7) for layer in ("embedding", "ffn1", "ffn2")}
IMPORTANT_WORDS = np.array([0, 1, 0, 0, 0, 1, 0], dtype=bool)
ODD = ["$5", "x_1^2", "\\frac{1}{2}", "w" * 80, "日本語", "", "two\nlines", "café$x$"]


def words_below(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[-1].get_xticklabels()]


def test_every_layer_has_a_row_whose_bars_are_its_capacities():
    figure = capacity_bars(CAPACITY, WORDS, important=IMPORTANT_WORDS)
    assert len(figure.axes) == 3
    for axes, values in zip(figure.axes, CAPACITY.values(), strict=True):
        heights = {round(bar.get_x() + bar.get_width() / 2): bar for bar in axes.patches}
        assert [heights[i].get_height() for i in range(7)] == pytest.approx(list(values))
        assert axes.get_ylim() == (0, 1)
    assert [len(axes.get_xticks()) for axes in figure.axes] == [0, 0, 7]


def test_important_words_have_a_color_of_their_own_below_and_in_the_bars():
    from matplotlib.colors import to_hex

    figure = capacity_bars(CAPACITY, WORDS, important=IMPORTANT_WORDS)
    for axes in figure.axes:
        for bar in axes.patches:
            marked = IMPORTANT_WORDS[round(bar.get_x() + bar.get_width() / 2)]
            assert to_hex(bar.get_facecolor()).upper() == (IMPORTANT if marked else ORDINARY)
    below = figure.axes[-1].get_xticklabels()
    assert [text.get_weight() == "bold" for text in below] == IMPORTANT_WORDS.tolist()
    assert not capacity_bars(CAPACITY, WORDS).legends


def test_words_are_not_parsed_as_math_and_missing_glyphs_are_boxes():
    figure = capacity_bars({"ffn1": np.full(8, 0.1)}, ODD, title="$x$ 日\\alpha")
    figure.canvas.draw()  # with warnings as errors
    assert words_below(figure)[:3] == ODD[:3]
    assert words_below(figure)[4:] == ["□□□", "␣", "two␣lines", "café$x$"]
    assert figure.texts[0].get_text() == "$x$ □\\alpha"
    labels = figure.axes[-1].get_xticklabels()
    assert not any(text.get_parse_math() for text in [*labels, *figure.texts])


def test_nan_is_a_cross_and_zero_is_a_bar_without_height():
    figure = capacity_bars({"ffn1": [np.nan, 0.0, 0.4]}, ["a", "b", "c"])
    axes = figure.axes[0]
    assert [bar.get_height() for bar in axes.patches] == [0.0, 0.4]
    assert list(axes.lines[0].get_xdata()) == [0]


def test_invalid_capacities_are_refused():
    with pytest.raises(ValueError, match="capacity"):
        capacity_bars({}, ["a"])
    with pytest.raises(ValueError, match="words"):
        capacity_bars({"ffn1": []}, [])
    with pytest.raises(ValueError, match="capacity of ffn1"):
        capacity_bars({"ffn1": [0.1]}, ["a", "b"])
    with pytest.raises(ValueError, match="capacity of ffn1"):
        capacity_bars({"ffn1": [0.1, 1.5]}, ["a", "b"])
    with pytest.raises(ValueError, match="important"):
        capacity_bars({"ffn1": [0.1, 0.5]}, ["a", "b"], important=[0, 1])
