import numpy as np
import pytest

from glassbox.plots import neuron_directions

# One feature on a neuron, one on the negative of another, one between two, one too small.
WEIGHTS = np.array([[2.0, 0, 0], [0, -0.6, 0], [0, 0.6, 0.8], [0.1, 0, 0]])


def image(axes):
    return np.ma.filled(axes.images[0].get_array(), np.nan)


def test_rows_are_directions_and_features_of_small_norm_are_blank():
    figure = neuron_directions(WEIGHTS)
    expected = [[1, 0, 0], [0, -1, 0], [0, 0.6, 0.8], [np.nan] * 3]
    assert image(figure.axes[0]) == pytest.approx(np.array(expected), nan_ok=True)
    assert figure.axes[0].images[0].get_clim() == (-1, 1)
    lower = neuron_directions(WEIGHTS, threshold=0.05)
    assert image(lower.axes[0])[3].tolist() == [1, 0, 0]


def test_the_mean_alignment_of_represented_features_is_above_each_panel():
    figure = neuron_directions(
        np.stack([WEIGHTS, WEIGHTS * 0, np.eye(4, 3)]), names=["mixed", "zero", "basis"]
    )
    above = [[text.get_text() for text in axes.texts] for axes in figure.axes[:3]]
    assert above[0] == ["mixed", f"alignment {(1 + 1 + 0.64) / 3:.2f}"]
    assert above[1] == ["zero", "none represented"]
    assert above[2] == ["basis", "alignment 1.00"]


def test_a_model_that_is_not_finite_is_blank():
    figure = neuron_directions(np.full((2, 3), np.nan))
    assert np.isnan(image(figure.axes[0])).all()
