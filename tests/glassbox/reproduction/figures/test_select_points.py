"""What the figures over grid points ask of the points, and the sentences for those that lack it."""

import math

import numpy as np
import pytest

from glassbox.metrics.quantiles import censored_quantile
from glassbox.reproduction.figures.panel_grid import panel_grid
from glassbox.reproduction.figures.select_points import (
    array_of,
    axis_values,
    censored_quartiles,
    columns,
    numbers_of,
    numeric_values,
    point_at,
)
from glassbox.reproduction.grid_point import GridPoint


def point(**labels: str) -> GridPoint:
    metrics = {"test/accuracy": np.array([0.5, np.nan]), "val/best": np.array(["A4", "none"])}
    return GridPoint(labels, [0, 1], metrics, {"epochs": np.arange(6).reshape(2, 3)})


def test_numbers_are_sorted_as_numbers_and_keep_their_spelling():
    points = [point(n=text) for text in ("16", "2", "0.50", "4")]
    assert numeric_values(points, "n") == {0.5: "0.50", 2: "2", 4: "4", 16: "16"}


def test_columns_are_filled_up_where_seeds_or_a_point_are_missing():
    table = columns([np.array([1.0, 2.0]), None, np.array([3.0])])
    expected = [[1, np.nan, 3], [2, np.nan, np.nan]]
    np.testing.assert_array_equal(table, expected)
    assert np.isnan(columns([None, None])).all()


@pytest.mark.parametrize("missing", range(9))
def test_quartiles_with_never_agree_with_those_of_the_logger(missing):
    epochs = np.random.default_rng(missing).integers(1, 7000, 8).astype(float)
    epochs[:missing] = np.nan
    listed = [None if math.isnan(epoch) else epoch for epoch in epochs]
    expected = [censored_quantile(listed, share) for share in (0.25, 0.5, 0.75)]
    assert censored_quartiles(epochs) == pytest.approx(expected)


@pytest.mark.parametrize(("wide", "rows"), [(1, 4), (2, 2), (6, 1)])
def test_legend_takes_the_rows_it_needs_and_stays_in_the_figure(wide, rows):
    from matplotlib.lines import Line2D

    names = [f"{head} {net}" for net in ("MLP", "transformer") for head in ("harmonic", "standard")]
    panels = panel_grid(
        rows=1, columns=wide, panel=(1.8, 1.5), gap=(0.1, 0.1), left=0.5, bottom=0.4,
        legend=names, title="a title",
    )  # fmt: skip
    panels.add_legend([Line2D([], [], label=name) for name in names])
    panels.figure.canvas.draw()
    (legend,) = panels.figure.legends
    box, figure, axes = (
        item.get_window_extent() for item in (legend, panels.figure, panels.axes[0][0])
    )
    heights = {round(text.get_window_extent().y0) for text in legend.get_texts()}
    assert len(heights) == rows
    assert figure.x0 <= box.x0 and box.x1 <= figure.x1
    assert box.y0 > axes.y1


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: axis_values([], "task"), "no points"),
        (lambda: axis_values([point(model="MLP")], "task"), "'task'.*'model'"),
        (lambda: numeric_values([point(n="all")], "n"), "'n'.*'all'"),
        (lambda: numeric_values([point(n="inf")], "n"), "'n'.*'inf'"),
        (lambda: numeric_values([point(n="2"), point(n="2.0")], "n"), "'2' and '2.0'"),
        (lambda: point_at([point(task="a", n="1"), point(task="a", n="2")], {"task": "a"}), "'n'"),
        (lambda: numbers_of(point(task="a"), "test/acuracy"), "'test/acuracy'.*test/accuracy"),
        (lambda: array_of(point(), "epoch"), "'epoch'.*epochs"),
    ],
)
def test_what_is_missing_is_named_in_one_line(call, named):
    with pytest.raises(ValueError, match=named) as caught:
        call()
    assert "\n" not in str(caught.value)
