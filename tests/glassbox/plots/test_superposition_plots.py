import numpy as np
import pytest

from glassbox.plots import dimensionality_plot, superposition_sheet
from glassbox.plots.dimensionality import spread_apart

RNG = np.random.default_rng(0)
DIGONS = np.array([[1.0, 0], [-1.0, 0], [0, 1.0], [0, -1.0], [0, 0]])
ALONE = np.array([[1.0, 0], [0, 1.0], [0, 0], [0, 0], [0, 0]])


def panels(figure):
    return [axes for axes in figure.axes if len(axes.patches) == 5]


def test_bars_are_norms_and_dark_without_interference_and_bright_with_it():
    weights = np.stack([ALONE, DIGONS])
    first, second = panels(superposition_sheet(weights))
    assert [bar.get_width() for bar in first.patches] == pytest.approx([1, 1, 0, 0, 0])
    assert [bar.get_width() for bar in second.patches] == pytest.approx([1, 1, 1, 1, 0])
    dark = np.array(first.patches[0].get_facecolor()[:3]).sum()
    bright = np.array(second.patches[0].get_facecolor()[:3]).sum()
    assert bright > 2 * dark
    assert first.get_xlim() == second.get_xlim()


def test_a_line_marks_the_number_of_hidden_neurons():
    (axes,) = panels(superposition_sheet(ALONE))
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [1.5]
    top, bottom = axes.get_ylim()
    assert top > bottom  # feature 0 above


def swarms(figure):
    """Dimensionalities by color: gray ones of short features, and those of the others."""
    axes = figure.axes[0]
    weak, kept = (axes.collections[start::2] for start in (0, 1))
    return [np.concatenate([np.asarray(c.get_offsets()) for c in part]) for part in (weak, kept)]


def test_features_of_regular_bodies_lie_on_their_plateaus():
    angles = 2 * np.pi * np.arange(5) / 5
    pentagon = np.column_stack([np.cos(angles), np.sin(angles)])
    weights = np.stack([pentagon, DIGONS])
    weak, kept = swarms(dimensionality_plot(weights, [0.5, 0.1]))
    at_two, at_ten = kept[kept[:, 0] < 4.5], kept[kept[:, 0] > 4.5]
    assert at_two[:, 1] == pytest.approx(np.full(5, 2 / 5))
    assert at_ten[:, 1] == pytest.approx(np.full(4, 1 / 2))
    assert weak[:, 1] == pytest.approx([0.0])
    assert np.exp(np.log(at_two[:, 0]).mean()) == pytest.approx(2.0)  # around its column


def test_the_line_is_hidden_dimensions_per_feature_the_median_of_equal_activities():
    weights = np.stack([DIGONS, ALONE, 2 * ALONE])
    figure = dimensionality_plot(weights, [0.1, 0.1, 1.0])
    (line,) = (ln for ln in figure.axes[0].lines if ln.get_marker() == "o")
    assert line.get_xdata() == pytest.approx([1.0, 10.0])
    assert line.get_ydata() == pytest.approx([2 / 8, (2 / 4 + 2 / 2) / 2])


def test_only_close_values_are_moved_apart():
    assert spread_apart([1.0, 0.5, 0.48], 0.1) == pytest.approx([1.0, 0.54, 0.44])


def test_an_activity_outside_of_zero_to_one_is_refused():
    for activity in ([0.0, 1.0], [0.5, 1.5], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="activity"):
            dimensionality_plot(np.stack([DIGONS, ALONE]), activity)
