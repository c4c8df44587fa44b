"""Weight images: the rows and their colors."""

import matplotlib.colors
import numpy as np
import pytest

from glassbox.plots import weight_images
from glassbox.plots.weight_images import FAR, NEAR, reach_of

RNG = np.random.default_rng(0)


def drawn(figure):
    """Images as they are colored, row by row: lists of (rows, columns, 4)."""
    rows: dict[float, list] = {}
    for axes in figure.axes:
        if axes.images:
            image = axes.images[0]
            top = round(float(axes.get_position().y0), 4)
            rows.setdefault(top, []).append(image.cmap(image.norm(image.get_array())))
    return [rows[top] for top in sorted(rows, reverse=True)]


def test_rows_are_class_means_weights_and_weights_near_zero():
    weights, means = RNG.normal(size=(4, 6)), RNG.random((4, 6))
    figure = weight_images(weights, (2, 3), means=means)
    rows = drawn(figure)
    assert [len(row) for row in rows] == [4, 4, 4]
    darkest = max(range(4), key=lambda label: means[label].max())
    place = np.unravel_index(means[darkest].argmax(), (2, 3))
    assert rows[0][darkest][place][:3] == pytest.approx((0, 0, 0), abs=0.01)


def test_weights_are_red_above_zero_blue_below_and_white_at_zero():
    weights = np.array([[2.0, 0.0, -2.0, 0.1]])
    (row, _) = drawn(weight_images(weights, (2, 2)))
    red, white, blue = row[0][0, 0], row[0][0, 1], row[0][1, 0]
    assert red[0] > red[2] and blue[2] > blue[0] and min(white[:3]) > 0.95


def test_one_large_weight_does_not_set_the_color_scale():
    weights = RNG.uniform(-1, 1, size=(10, 28, 28))
    weights[0, 0, 0] = 50.0
    assert reach_of(weights) < 1.01
    assert reach_of(np.zeros((1, 2, 2))) == 1.0
    one = np.zeros((1, 40, 40))
    one[0, 0, 0] = 3.0  # the quantile itself is 0
    assert reach_of(one) == 3.0


def test_only_weights_near_zero_are_yellow():
    weights = np.array([[0.009, -0.009, -1.0, 0.01]])
    (_, near) = drawn(weight_images(weights, (2, 2)))
    yellow, dark = (matplotlib.colors.to_rgba(color) for color in (NEAR, FAR))
    assert near[0][0].tolist() == [pytest.approx(yellow)] * 2
    assert near[0][1].tolist() == [pytest.approx(dark)] * 2


def test_a_class_without_a_mean_and_a_diverged_weight_are_drawn():
    means, weights = np.eye(3, 4), np.full((3, 4), np.nan)
    means[1] = np.nan
    assert len(drawn(weight_images(weights, (2, 2), means=means))) == 3
