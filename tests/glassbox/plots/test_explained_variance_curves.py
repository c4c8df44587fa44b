import numpy as np
import pytest
from matplotlib.collections import LineCollection

from glassbox.plots import cumulative_explained_variance

RATIOS = np.tile(np.array([0.5, 0.25, 0.15, 0.1]), (5, 1))


def curve(figure) -> np.ndarray:
    line = next(line for line in figure.axes[0].lines if len(line.get_xdata()) > 1)
    return np.asarray(line.get_ydata())


def test_draws_cumulative_sums_from_one_component_on():
    figure = cumulative_explained_variance(RATIOS)
    assert curve(figure) == pytest.approx([0.5, 0.75, 0.9, 1.0])
    assert figure.axes[0].lines[0].get_xdata()[0] == 1
    assert figure.axes[0].get_ylim() == (0, 1.02)


def test_every_seed_is_a_faint_line():
    figure = cumulative_explained_variance(RATIOS)
    (faint,) = [item for item in figure.axes[0].collections if isinstance(item, LineCollection)]
    assert len(faint.get_segments()) == 5


def test_a_seed_with_nan_is_left_out_from_there_on():
    ratios = RATIOS.copy()
    ratios[0] = [0.9, np.nan, 0.0, 0.0]
    figure = cumulative_explained_variance(ratios)
    figure.canvas.draw()
    assert curve(figure) == pytest.approx([0.5, 0.75, 0.9, 1.0])


@pytest.mark.parametrize("ratios", [np.full((3, 4), np.nan), [[1.0]], np.full((2, 30), 1 / 30)])
def test_unusual_inputs_can_be_drawn(ratios):
    cumulative_explained_variance(ratios, title="unusual").canvas.draw()
