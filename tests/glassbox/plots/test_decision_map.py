"""Decision regions: colors, points and weights."""

import numpy as np
from matplotlib.colors import to_rgb

from glassbox.plots import decision_maps
from glassbox.plots.decision_map import PALETTE, TINT

# Two seeds, a map of 2 x 2 places each.
REGIONS = np.array([[[0, 1], [2, 2]], [[1, 1], [0, 2]]])
WINDOW = np.array([-2.0, 2.0, -2.0, 2.0])
POINTS = np.array([[[1.0, 1.0], [-1.0, 0.0], [0.0, 0.5]]] * 2)
TARGETS = np.array([[0, 1, 2]] * 2)
WEIGHTS = np.array([[[1.0, 1.5], [-9.0, 0.0], [0.0, 0.25]]] * 2)


def draw(**options):
    given = {"window": WINDOW, "points": POINTS, "targets": TARGETS, "weights": WEIGHTS}
    return decision_maps(REGIONS, **{**given, **options})


def marked(axes):
    """Where the weights are drawn: the data of each line with their label."""
    return [line.get_xydata().tolist() for line in axes.lines if line.get_label() == "weight"]


def test_regions_have_the_tint_of_the_predicted_class_with_the_lowest_row_at_the_bottom():
    for seed, axes in enumerate(draw().axes):
        (image,) = axes.images
        assert image.origin == "lower" and image.get_extent() == [-2, 2, -2, 2]
        for (row, column), label in np.ndenumerate(REGIONS[seed]):
            color = np.array(to_rgb(PALETTE[label]))
            expected = TINT + (1 - TINT) * color
            np.testing.assert_allclose(image.get_array()[row, column], expected, atol=1e-6)


def test_points_have_the_full_color_of_their_class():
    for axes in draw().axes:
        dots = [line for line in axes.lines if line.get_label() != "weight"]
        assert [dot.get_xydata().tolist() for dot in dots] == [[p] for p in POINTS[0].tolist()]
        assert [to_rgb(dot.get_color()) for dot in dots] == [to_rgb(c) for c in PALETTE[:3]]


def test_weights_are_crosses_for_distance_heads_and_lines_from_the_origin_otherwise():
    for axes in draw(by_distance=True).axes:
        assert marked(axes) == [WEIGHTS[0].tolist()]
    for axes in draw(by_distance=False).axes:
        assert marked(axes) == [[[0, 0], row] for row in WEIGHTS[0].tolist()]
        assert (axes.get_xlim(), axes.get_ylim()) == ((-2, 2), (-2, 2))
    assert all(marked(axes) == [] for axes in draw(weights=None).axes)
