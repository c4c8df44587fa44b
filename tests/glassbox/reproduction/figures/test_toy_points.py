"""The figure of the toy points: a row of curves and decision regions for each set of points."""

import numpy as np
import pytest

from glassbox.reproduction.figures import toy_points
from glassbox.reproduction.grid_point import GridPoint

# Two seeds, a map of 2 x 2 places each.
REGIONS = np.array([[[0, 1], [2, 2]], [[1, 1], [0, 2]]])
WINDOW = np.array([-2.0, 2.0, -2.0, 2.0])
POINTS = np.array([[[1.0, 1.0], [-1.0, 0.0], [0.0, 0.5]]] * 2)
TARGETS = np.array([[0, 1, 2]] * 2)
WEIGHTS = np.array([[[1.0, 1.5], [-9.0, 0.0], [0.0, 0.25]]] * 2)


def marked(axes):
    """Where the weights are drawn: the data of each line with their label."""
    return [line.get_xydata().tolist() for line in axes.lines if line.get_label() == "weight"]


STEPS = np.array([0, 50, 100])
HEADS = ("cross-entropy", "cross-entropy with bias", "harmonic")


def point(head: str, points: str, scale: float = 1.0) -> GridPoint:
    """Two seeds, whose medians are (3, 2, 1) and (1, 2, 3) times the scale."""
    arrays = {
        "steps": np.stack([STEPS, STEPS]),
        "loss": scale * np.array([[2.5, 1.5, 0.5], [3.5, 2.5, 1.5]]),
        "weight_norm": scale * np.array([[0.5, 1.5, 2.5], [1.5, 2.5, 3.5]]),
        "regions": REGIONS,
        "window": np.stack([WINDOW, WINDOW]),
        "points": POINTS,
        "targets": TARGETS,
        "weights": WEIGHTS,
        "by_distance": np.array([head == "harmonic"] * 2),
    }
    return GridPoint({"head": head, "points": points}, [0, 3], {}, arrays)


def grid() -> list[GridPoint]:
    return [
        point(head, points, scale)
        for points in ("two", "five")
        for head, scale in zip(HEADS, (1.0, 2.0, 4.0), strict=True)
    ]


def rows(figure) -> list[list]:
    return [figure.axes[:5], figure.axes[5:]]


def test_a_row_for_every_set_of_points_with_two_curves_and_a_map_for_every_head():
    first, second = rows(toy_points(grid()))
    assert len(first) == len(second) == 5
    assert [row[0].get_title(loc="left") for row in (first, second)] == [
        "two points",
        "five points",
    ]
    for row in (first, second):
        assert [axes.get_title() for axes in row[2:]] == list(HEADS)
        assert [len(axes.images) for axes in row] == [0, 0, 1, 1, 1]


def test_curves_are_medians_over_seeds_and_the_loss_stands_on_a_log_axis():
    for row in rows(toy_points(grid())):
        loss, norm = row[:2]
        assert (loss.get_yscale(), norm.get_yscale()) == ("log", "linear")
        for axes, medians in ((loss, [3, 2, 1]), (norm, [1, 2, 3])):
            assert len(axes.lines) == 3
            for line, scale in zip(axes.lines, (1, 2, 4), strict=True):
                assert line.get_xdata().tolist() == STEPS.tolist()
                assert line.get_ydata() == pytest.approx(np.multiply(medians, scale))
            assert axes.get_xlim() == (0, 100)


def test_maps_are_the_chosen_seeds_and_centers_only_where_distances_count():
    for seed, index in ((0, 0), (3, 1), (9, 0)):  # of a seed that was not run the first
        for row in rows(toy_points(grid(), seed=seed)):
            expected = point("harmonic", "two").arrays["regions"][index]
            shades = row[4].images[0].get_array()
            assert (len(np.unique(shades.reshape(4, 3), axis=0))) == len(np.unique(expected))
            assert f"seed {[0, 3][index]}" in row[4].texts[0].get_text()
            assert marked(row[4]) == [WEIGHTS[0].tolist()]
            assert len(marked(row[2])) == 3


def test_a_point_that_is_not_finished_leaves_its_panel_empty():
    first, second = rows(toy_points(grid()[:-1]))
    assert len(first[0].lines) == 3 and len(second[0].lines) == 2
    assert second[4].texts[0].get_text() == "not finished" and not second[4].images
