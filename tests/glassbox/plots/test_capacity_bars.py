import numpy as np
import pytest

from glassbox.plots import capacity_bars
from glassbox.plots.word_labels import (
    IMPORTANT,
    MOST_WORDS,
    ORDINARY,
    fit_word,
    replace_missing_glyphs,
    text_width,
)

RNG = np.random.default_rng(0)
WORDS = ["a", "gorgeous", ",", "witty", ",", "seductive", "movie"]
CAPACITY = {layer: RNG.random(7) for layer in ("embedding", "ffn1", "ffn2")}
IMPORTANT_WORDS = np.array([0, 1, 0, 0, 0, 1, 0], dtype=bool)
ODD = ["$5", "x_1^2", "\\frac{1}{2}", "w" * 80, "日本語", "", "two\nlines", "café$x$"]


def inside(figure) -> None:
    """Every text and panel lies in the figure."""
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    texts = [text for axes in figure.axes for text in axes.texts]
    for item in [*figure.axes, *figure.texts, *figure.legends, *texts]:
        box = item.get_window_extent()
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, item


def words_below(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[-1].texts if text.get_rotation() > 0]


def test_every_layer_has_a_row_whose_bars_are_its_capacities():
    figure = capacity_bars(CAPACITY, WORDS, important=IMPORTANT_WORDS)
    assert len(figure.axes) == 3
    for axes, values in zip(figure.axes, CAPACITY.values(), strict=True):
        heights = {round(bar.get_x() + bar.get_width() / 2): bar for bar in axes.patches}
        assert [heights[i].get_height() for i in range(7)] == pytest.approx(list(values))
        assert axes.get_ylim() == (0, 1)
    assert [axes.texts[-1].get_rotation() > 0 for axes in figure.axes] == [False, False, True]


def test_important_words_have_a_color_of_their_own_below_and_in_the_bars():
    from matplotlib.colors import to_hex

    figure = capacity_bars(CAPACITY, WORDS, important=IMPORTANT_WORDS)
    for axes in figure.axes:
        for bar in axes.patches:
            marked = IMPORTANT_WORDS[round(bar.get_x() + bar.get_width() / 2)]
            assert to_hex(bar.get_facecolor()).upper() == (IMPORTANT if marked else ORDINARY)
    below = [text for text in figure.axes[-1].texts if text.get_rotation() > 0]
    assert [text.get_weight() == "bold" for text in below] == IMPORTANT_WORDS.tolist()
    assert not capacity_bars(CAPACITY, WORDS).legends


def test_means_of_important_and_other_words_stand_above_each_row():
    values = [0.9, 0.1, 0.3]
    axes = capacity_bars({"ffn1": values}, ["a", "b", "c"], important=[True, False, False]).axes[0]
    assert "mean 0.43 · important 0.90 · other 0.20" in [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("count", [1, 2, 20, 40, 90])
def test_texts_of_any_length_fit_and_longer_ones_are_cut_and_say_so(count):
    words = [f"word{i}" for i in range(count)]
    figure = capacity_bars({"ffn1": np.full(count, 0.5)}, words, title="a long title " * 9)
    inside(figure)
    assert words_below(figure) == words[:MOST_WORDS]
    said = any(f"{MOST_WORDS} of 90" in text.get_text() for text in figure.texts)
    assert said == (count == 90)


def test_words_are_not_read_as_mathematics_and_characters_without_a_glyph_are_boxes():
    figure = capacity_bars({"ffn1": np.full(8, 0.1)}, ODD, title="$x$ 日\\alpha")
    inside(figure)  # drawing with warnings as errors
    assert words_below(figure)[:3] == ODD[:3]
    assert words_below(figure)[4:] == ["□□□", "␣", "two␣lines", "café$x$"]
    assert figure.texts[0].get_text() == "$x$ □\\alpha"
    every = [text for axes in figure.axes for text in axes.texts] + figure.texts
    assert not any(text.get_parse_math() for text in every)


def test_a_long_word_is_cut_to_the_width_that_is_drawn():
    short = fit_word("w" * 80, 7.5, width=60.0)
    assert short.endswith("…") and 50 < text_width(short, 7.5) <= 60
    assert fit_word("movie", 7.5, width=60.0) == "movie"
    assert replace_missing_glyphs("a b", " ") == "a b" and replace_missing_glyphs("") == "␣"


def test_what_is_not_finite_is_a_cross_and_zero_is_a_bar_without_height():
    figure = capacity_bars({"ffn1": [np.nan, 0.0, 0.4]}, ["a", "b", "c"])
    axes = figure.axes[0]
    assert [bar.get_height() for bar in axes.patches] == [0.0, 0.4]
    assert list(axes.lines[0].get_xdata()) == [0]
    assert any("not a finite number" in text.get_text() for text in figure.texts)


def test_capacities_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match="no layer"):
        capacity_bars({}, ["a"])
    with pytest.raises(ValueError, match="no word"):
        capacity_bars({"ffn1": []}, [])
    with pytest.raises(ValueError, match="capacity of ffn1 has shape"):
        capacity_bars({"ffn1": [0.1]}, ["a", "b"])
    with pytest.raises(ValueError, match=r"capacity of ffn1 is 1\.5"):
        capacity_bars({"ffn1": [0.1, 1.5]}, ["a", "b"])
    with pytest.raises(ValueError, match="important is int64"):
        capacity_bars({"ffn1": [0.1, 0.5]}, ["a", "b"], important=[0, 1])
