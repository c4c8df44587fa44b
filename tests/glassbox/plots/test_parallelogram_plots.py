import numpy as np
import pytest

from glassbox.plots import (
    RankedParallelograms,
    parallelogram_distributions,
    parallelogram_scatter,
    ranked_parallelograms,
)
from glassbox.plots.parallelograms import PANEL, WORD_SIZE, place_words

RNG = np.random.default_rng(0)
TASKS = ["present-past", "singular_plural", "antonym", "synonym", "capitals"]
LOSSES = {
    "cross-entropy": {task: RNG.gamma(2, 0.8, 400) for task in TASKS},
    "harmonic": {task: RNG.gamma(2, 0.4, 400) for task in TASKS},
}


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_each_panel_draws_every_models_distribution_and_its_fraction_below_one():
    figure = parallelogram_distributions(LOSSES, title="two components")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        task.replace("_", " ") for task in TASKS
    ]
    for axes, task in zip(figure.axes, TASKS, strict=True):
        one, *curves = axes.lines
        assert set(one.get_xdata()) == {1}
        for curve, model in zip(curves, LOSSES, strict=True):
            x, y = curve.get_xdata(), curve.get_ydata()
            expected = [(LOSSES[model][task] <= at).mean() for at in x]
            assert y == pytest.approx(np.array(expected))
        fractions = [100 * (of_model[task] < 1).mean() for of_model in LOSSES.values()]
        assert texts(axes) == [f"{fraction:.0f} % below 1" for fraction in fractions]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(LOSSES)


def test_curves_start_at_the_fraction_of_exact_zeros():
    figure = parallelogram_distributions({"m": {"t": [0, 0, 0, 2.0]}})
    assert figure.axes[0].lines[1].get_ydata()[0] == 0.75


def test_a_scatter_shows_the_second_model_over_the_first_and_counts_what_is_below():
    losses = {"a": {"t": [1.0, 2.0, 3.0, 0.0]}, "b": {"t": [0.5, 1.0, 4.0, 0.0]}}
    axes = parallelogram_scatter(losses).axes[0]
    points = np.asarray(axes.collections[0].get_offsets())
    assert points == pytest.approx(np.array([[1, 0.5], [2, 1], [3, 4], [0, 0]]))
    assert texts(axes) == ["67 % below"]  # of the three that differ


def ranked(count: int = 3, words=("jump", "jumped", "win", "won")) -> RankedParallelograms:
    corners = RNG.normal(size=(count, 4, 2))
    return RankedParallelograms(
        corners, [list(words)] * count, [0.1, 0.2, 0.345][:count], [0, 1, 10][:count]
    )


def test_a_row_for_each_model_and_a_panel_for_each_rank_with_words_sides_and_loss():
    models = {"cross-entropy": ranked(), "harmonic": ranked()}
    figure = ranked_parallelograms(models, title="present-past", note="a note")
    assert len(figure.axes) == 6
    titles = [axes.get_title(loc="left") for axes in figure.axes[:3]]
    assert titles == ["rank 0 · 0.1", "rank 1 · 0.2", "rank 10 · 0.34"]
    corners = models["cross-entropy"].corners[0]
    axes = figure.axes[0]
    assert texts(axes)[:4] == ["jump", "jumped", "win", "won"] and texts(axes)[4].endswith("σ")
    drawn = [np.asarray(line.get_xydata()) for line in axes.lines[:4]]
    for line, (a, b) in zip(drawn, ((0, 1), (1, 3), (3, 2), (2, 0)), strict=True):
        assert line == pytest.approx(corners[[a, b]])
    low, high = axes.get_xlim()
    bar = axes.lines[4].get_xdata()
    assert texts(axes)[4] == f"{bar[1] - bar[0]:g} σ" and low < bar[0] < bar[1] < high


@pytest.mark.parametrize(
    "points",
    [
        RNG.uniform(-35, 35, (4, 2)),
        np.array([[-30, 0], [-29, 0.5], [30, 0], [29, 0.5]]),  # flat, as many are
        np.array([[-30, -30], [30, -30], [-30, 30], [30, 30]]),
        np.array([[0, 30], [1, 28], [0, -30], [1, -28]]),
    ],
    ids=["random", "flat", "corners", "upright"],
)
def test_words_do_not_overlap_and_stay_in_their_panel(points):
    words = ["communicate", "commun·icated", "give", "g·ave"]
    places = place_words(points.astype(float), words)
    half = PANEL / 2 * 72
    widths = np.array([0.64 * WORD_SIZE * len(word) for word in words])
    assert (abs(places) + np.stack([widths, np.full(4, WORD_SIZE)], 1) / 2 <= half).all()
    for a in range(4):
        for b in range(a):
            apart = abs(places[a] - places[b])
            free = apart[0] >= (widths[a] + widths[b]) / 2 - 1e-6 or apart[1] >= WORD_SIZE
            assert free, (words[a], words[b])


def test_coinciding_corners_can_be_drawn():
    model = RankedParallelograms(np.zeros((1, 4, 2)), [["a", "b", "c", "d"]], [0.0], [0])
    ranked_parallelograms({"m": model}).canvas.draw()


def test_losses_that_do_not_match_are_refused():
    for losses in ({}, {"a": {"t": [1.0]}}, {"a": {"t": [1.0]}, "b": {"u": [1.0]}}):
        with pytest.raises(ValueError, match="losses"):
            parallelogram_scatter(losses)
    with pytest.raises(ValueError, match="t has shape"):
        parallelogram_scatter({"a": {"t": [1.0]}, "b": {"t": [1.0, 2.0]}})


def test_parallelograms_that_do_not_match_their_words_are_refused():
    with pytest.raises(ValueError, match="models"):
        ranked_parallelograms({})
    with pytest.raises(ValueError, match="words of m"):
        ranked_parallelograms({"m": ranked(2, words=("a", "b", "c"))})
    with pytest.raises(ValueError, match="corners of m"):
        ranked_parallelograms({"m": ranked(2)._replace(corners=np.zeros((2, 3, 2)))})
