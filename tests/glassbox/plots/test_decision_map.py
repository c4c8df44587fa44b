"""Decision maps, and the figure of the toy points: what is drawn where."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from glassbox.plots import decision_maps
from glassbox.plots.decision_map import PALETTE, TINT
from glassbox.reproduction.figures import toy_points
from glassbox.reproduction.grid_point import GridPoint

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


def test_a_place_has_the_tint_of_the_class_that_is_seen_there_with_the_lowest_row_below():
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


def test_weights_are_centers_of_a_head_of_distances_and_else_lines_from_the_origin():
    for axes in draw(by_distance=True).axes:
        assert marked(axes) == [WEIGHTS[0].tolist()]
    for axes in draw(by_distance=False).axes:
        assert marked(axes) == [[[0, 0], row] for row in WEIGHTS[0].tolist()]
        assert (axes.get_xlim(), axes.get_ylim()) == ((-2, 2), (-2, 2))
    assert all(marked(axes) == [] for axes in draw(weights=None).axes)


def test_the_legend_tells_what_the_weights_are():
    def words(**options):
        (legend,) = draw(**options).legends
        return {text.get_text() for text in legend.get_texts()}

    assert "class center (weight)" in words(by_distance=True)
    assert "weight, from the origin" in words(by_distance=False)
    assert words(weights=None) == {"training point", "region of its class"}


def test_seed_and_accuracy_stand_above_each_panel():
    figure = draw(seeds=[4, 7], accuracy=[0.8, 1.0])
    assert [axes.get_title() for axes in figure.axes] == [
        "seed 4 · 80 % right",
        "seed 7 · 100 % right",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"window": WINDOW[:3]}, "window has shape"),
        ({"points": POINTS[..., :1]}, "points has shape"),
        ({"targets": TARGETS[:, :2]}, "targets has shape"),
        ({"weights": WEIGHTS[:1]}, "weights has shape"),
        ({"accuracy": [1.0]}, "accuracy has shape"),
        ({"seeds": [1]}, "seeds has 1 entries, expected 2"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        draw(**options)


# ---- the study's figure --------------------------------------------------------------------------

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


def test_wrong_input_is_refused():
    other = point("harmonic", "two")
    other.arrays["steps"][1, 1] = 60
    with pytest.raises(ValueError, match="measured at different steps"):
        toy_points([other])
    with pytest.raises(ValueError, match="needs an axis 'head'"):
        toy_points([GridPoint({"points": "two"}, [0], {}, {})])
    lacking = point("harmonic", "two")
    del lacking.arrays["weights"]
    with pytest.raises(ValueError, match="no array 'weights'"):
        toy_points([lacking])
