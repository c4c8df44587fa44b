import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba

from glassbox.plots import embedding_grid

ANGLE = 2 * np.pi * np.arange(31) / 31
CIRCLE = np.stack([np.cos(ANGLE), np.sin(ANGLE)], axis=1)
NUMBERS = [str(number) for number in range(31)]


def circles(seeds: int) -> np.ndarray:
    return np.stack([CIRCLE * (seed + 1) for seed in range(seeds)])


def texts(axes) -> set[str]:
    return {text.get_text() for text in axes.texts}


def test_one_panel_per_seed_in_rows_of_five():
    figure = embedding_grid(circles(12), explained=np.linspace(0, 1, 12), seeds=range(12))
    lefts = {round(axes.get_position().x0, 6) for axes in figure.axes}
    tops = {round(axes.get_position().y1, 6) for axes in figure.axes}
    assert (len(figure.axes), len(lefts), len(tops)) == (12, 5, 3)


@pytest.mark.parametrize("seeds", [1, 2, 5, 20])
def test_panels_are_square_with_equal_aspect_and_hold_all_points(seeds):
    stretched = circles(seeds) * np.array([3.0, 1.0])
    figure = embedding_grid(stretched, title="stretched")
    figure.canvas.draw()
    for axes, points in zip(figure.axes, stretched, strict=True):
        box = axes.get_window_extent()
        assert axes.get_aspect() == 1
        assert box.width == pytest.approx(box.height)
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert right - left == pytest.approx(top - bottom)
        assert left < points[:, 0].min() and points[:, 0].max() < right
        assert bottom < points[:, 1].min() and points[:, 1].max() < top


def test_short_labels_are_drawn_on_their_points():
    (axes,) = embedding_grid(CIRCLE[None], labels=NUMBERS).axes
    assert texts(axes) == set(NUMBERS)
    for text in axes.texts:
        assert text.get_position() == pytest.approx(tuple(CIRCLE[int(text.get_text())]))


def test_overlapping_points_are_drawn_without_labels():
    piles = np.repeat(CIRCLE[None, ::7], 8, axis=1)
    labels = [str(index) for index in range(piles.shape[1])]
    (axes,) = embedding_grid(piles, labels=labels).axes
    assert not axes.texts
    assert len(axes.collections[0].get_offsets()) == piles.shape[1]


def test_long_labels_are_drawn_beside_their_points_in_large_panels_only():
    labels = [f"{index:04d}" for index in range(31)]
    large = embedding_grid(circles(1), labels=labels)
    small = embedding_grid(circles(20), labels=labels)
    assert texts(large.axes[0]) == set(labels)
    assert not any(axes.texts for axes in small.axes)


def test_edges_are_one_collection_below_the_points():
    edges = np.stack([np.arange(30), np.arange(1, 31)], axis=1)
    (axes,) = embedding_grid(CIRCLE[None], edges=edges).axes
    (lines,) = [item for item in axes.collections if isinstance(item, LineCollection)]
    (points,) = [item for item in axes.collections if item is not lines]
    assert len(lines.get_segments()) == 30
    assert lines.get_zorder() < points.get_zorder()


def test_points_with_nan_are_left_out_with_their_edges():
    points = circles(2)
    points[0, 3] = np.nan
    points[1] = np.nan
    figure = embedding_grid(points, labels=NUMBERS, edges=[[2, 3], [0, 1]], explained=[0.5, np.nan])
    figure.canvas.draw()
    first, second = figure.axes
    lines, dots = first.collections
    assert len(lines.get_segments()) == 1 and len(dots.get_offsets()) == 30
    assert texts(first) == set(NUMBERS) - {"3"}
    assert not second.collections


def test_coinciding_points_do_not_break_the_frame():
    figure = embedding_grid(np.ones((1, 4, 2)), labels=list("abcd"), groups=[np.nan] * 4)
    figure.canvas.draw()
    assert figure.axes[0].collections[0].get_facecolor()[0][:3] == pytest.approx(
        to_rgba("#c9c9c9")[:3]
    )
