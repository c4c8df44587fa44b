"""The axis of a metric: what its range is, and where values, never and tick labels stand."""

import itertools

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure

from glassbox.plots.style import house_style
from glassbox.reproduction.figures.metric_axis import metric_axis
from glassbox.reproduction.figures.panel_grid import (
    fitting_labels,
    panel_grid,
)


def panel(scale, values, side="x"):
    with rc_context(house_style()):
        grid = panel_grid(rows=1, columns=1, panel=(1.6, 1.6), gap=(0, 0), left=0.5, bottom=0.4)
        metric_axis(scale, np.asarray(values, dtype=float)).prepare(grid.axes[0][0], side)
    return grid.axes[0][0]


def labels(axes, side="x") -> list[str]:
    axis = axes.xaxis if side == "x" else axes.yaxis
    axes.figure.canvas.draw()
    low, high = axis.get_view_interval()
    ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
    return [text.get_text() for tick, text in ticks if low <= tick <= high]


@pytest.mark.parametrize("values", [[0.962, 0.983], [0.991, 1.0], [1.0, 1.0]])
def test_shares_above_90_percent_are_drawn_over_their_own_range(values):
    axes = panel("share", values)
    low, high = axes.get_xlim()
    assert 0.9 < low < min(values) and max(values) < high < 1.03
    written = labels(axes)
    assert len(written) >= 2
    assert all(90 < float(text.removesuffix(" %")) <= 100 for text in written)


def test_shares_below_0_are_on_the_axis():
    axes = panel("share", [-0.4, 0.3, np.nan])
    assert axes.get_xlim()[0] < -0.4
    assert "0" in labels(axes)


@pytest.mark.parametrize("values", [[0.02, 30], [3.1, 3.4], [1e-5, 2e-3], [7, 7]])
def test_log_axes_have_numbers_that_fit_side_by_side(values):
    axes = panel("log", values)
    assert axes.get_xscale() == "log"
    assert axes.get_xlim()[0] < min(values) and max(values) < axes.get_xlim()[1]
    written = labels(axes)
    assert len(written) >= 1 + (min(values) < max(values))
    boxes = [text.get_window_extent() for text in axes.get_xticklabels() if text.get_text()]
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


@pytest.mark.parametrize("values", [[40, 700, np.nan], [1, 2000, np.nan], [np.nan, np.nan]])
def test_epochs_have_a_strip_for_never_behind_all_numbers(values):
    axes = panel("epochs", values)
    assert labels(axes)[-1] == "never"
    boxes = [text.get_window_extent() for text in axes.get_xticklabels()]
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))
    axis = metric_axis("epochs", np.array(values))
    assert axis.high < axis.never < axis.end
    assert axis.places(np.array([np.nan, 0.0, 12.0])) == pytest.approx([axis.never, 1, 12])


def test_quartiles_of_points_of_different_seeds_and_of_none():
    axis = metric_axis("number", np.array([1.0, 9.0]))
    table = axis.quartiles([np.array([1.0, 3.0, 9.0]), None, np.array([5.0, np.nan])])
    assert table[:, 0] == pytest.approx([2, 3, 6])
    assert np.isnan(table[:, 1]).all()
    assert table[:, 2] == pytest.approx([5, 5, 5])


@pytest.mark.parametrize(
    ("inches", "positions", "texts", "order", "kept"),
    [
        (2, [0.0, 0.02, 0.5, 1.0], ["1", "2", "3", "4"], [0, 1, 2, 3], [0, 2, 3]),
        (2, [0.0, 0.02, 0.5, 1.0], ["1", "2", "3", "4"], [1, 0, 2, 3], [1, 2, 3]),
        (20, [0.0, 0.02], ["1", "2"], [0, 1], [0, 1]),
        (2, [0.0, 0.1], ["1,000,000", "2,000,000"], [0, 1], [0]),
    ],
)
def test_labels_that_would_overlap_are_left_out(inches, positions, texts, order, kept):
    axes = Figure((inches, 1)).add_axes((0, 0, 1, 1))
    assert fitting_labels(axes, np.array(positions), texts, order) == kept


def test_delays_may_be_0_or_negative_and_have_a_strip_for_never():
    values = np.array([0.0, -12.0, 80.0, 2714.0, np.nan])
    axes = panel("delays", values)
    written = labels(axes)
    assert written[-1] == "never" and {"−10", "0", "100"} <= set(written)
    boxes = [text.get_window_extent() for text in axes.get_xticklabels()]
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))
    axis = metric_axis("delays", values)
    assert axis.low < -12 and 2714 < axis.high < axis.never < axis.end
    assert axis.places(values) == pytest.approx([0, -12, 80, 2714, axis.never])
    # Equal steps around 0 and equal ratios far from it take equal lengths of the axis.
    x = axes.transData.transform([(v, 0) for v in (-0.2, 0.0, 0.2, 20, 200, 2000)])[:, 0]
    lengths = np.diff(x)
    assert lengths[0] == pytest.approx(lengths[1])
    assert lengths[3] == pytest.approx(lengths[4], rel=1e-3)
    median = axis.quartiles([np.array([3.0, np.nan, np.nan]), np.array([-2.0, 0.0, np.nan])])[1]
    assert median == pytest.approx([axis.never, 0.0])
