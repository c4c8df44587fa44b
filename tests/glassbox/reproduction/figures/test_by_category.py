import statistics

import numpy as np
import pytest

from glassbox.plots.colors import HARMONIC, STANDARD
from glassbox.reproduction.figures import by_category
from glassbox.reproduction.grid_point import GridPoint

ACCURACY, NORM, EPOCH = "test/accuracy", "val/norm", "generalization/test_epoch"
METRICS = {ACCURACY: "accuracy on the test set", NORM: "norm", EPOCH: "epoch"}
SCALES = {ACCURACY: "share", NORM: "log", EPOCH: "epochs"}
HEADS = ("cross-entropy", "harmonic", "focal", "focal, harmonic")


def point(head: str, seeds: int = 7) -> GridPoint:
    rng = np.random.default_rng(len(head))
    metrics = {
        ACCURACY: rng.uniform(0.3, 0.9, seeds),
        NORM: rng.uniform(0.1, 30, seeds),
        EPOCH: rng.integers(2, 900, seeds).astype(float),
    }
    return GridPoint({"head": head}, list(range(seeds)), metrics, {})


def draw(points, **options):
    return by_category(points, **{"rows": "head", "metrics": METRICS, "scales": SCALES, **options})


def row_of(axes, y: float) -> int:
    return round(float(y))


def medians(axes) -> dict[int, float]:
    """The upright bars: row -> place."""
    bars = {}
    for line in axes.lines:
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        assert line.get_label() == "median" and x[0] == x[1] and y[0] < y[1]
        bars[row_of(axes, y.mean())] = float(x[0])
    return bars


def dots(axes, *, never: bool = False) -> list[np.ndarray]:
    """Dots (dots, 2), of seeds with or without a value, a row each."""
    kept = [c for c in axes.collections if (c.get_label() == "never") == never]
    return [np.asarray(one.get_offsets()) for one in kept]


def test_medians_and_dots_are_those_of_the_seeds():
    points = [point(head) for head in HEADS]
    for axes, metric in zip(draw(points).axes, METRICS, strict=True):
        for row, (one, drawn) in enumerate(zip(points, dots(axes), strict=True)):
            values = one.metrics[metric].tolist()
            assert medians(axes)[row] == pytest.approx(statistics.median(values))
            assert sorted(drawn[:, 0]) == pytest.approx(sorted(values))
            assert {row_of(axes, y) for y in drawn[:, 1]} == {row}


def test_missing_epochs_are_hollow_in_the_strip_and_counted():
    points = [point(head, seeds=3) for head in HEADS]
    epochs = ([np.nan, np.nan, 300], [np.nan, 200, 400], [100, 200, 300], [np.nan] * 3)
    for one, of_seeds in zip(points, epochs, strict=True):
        one.metrics[EPOCH][:] = of_seeds
    axes = draw(points).axes[2]
    (never,) = [
        tick
        for tick, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        if label.get_text() == "never"
    ]
    assert never > 400
    assert medians(axes) == pytest.approx({0: never, 1: 400, 2: 200, 3: never})
    hollow = dots(axes, never=True)
    assert [len(one) for one in hollow] == [2, 1, 0, 3]
    strip = [c for c in axes.patches if c.get_width() > 0]
    edges = strip[-1].get_extents().transformed(axes.transData.inverted())
    places = np.concatenate(hollow)[:, 0]
    assert (edges.x0 < places).all() and (places < edges.x1).all() and edges.x0 > 400
    written = {text.get_text(): text.xy[1] for text in axes.texts}
    assert written == {"1/3": 0, "2/3": 1, "0/3": 3}


def test_where_selects_points_and_is_added_to_the_title():
    of_scale = [
        GridPoint({**point(head).labels, "scale": scale}, range(7), point(head + scale).metrics, {})
        for head in HEADS
        for scale in ("0.02", "0.05")
    ]
    figure = draw(of_scale, where={"scale": "0.05"}, title="Heads")
    assert "Heads, scale 0.05" in [text.get_text() for text in figure.texts]
    bars = medians(figure.axes[0])
    assert len(bars) == len(HEADS)
    for row, head in enumerate(HEADS):
        expected = statistics.median(point(head + "0.05").metrics[ACCURACY].tolist())
        assert bars[row] == pytest.approx(expected)
    with pytest.raises(ValueError, match="no points to draw"):
        draw(of_scale, where={"scale": "0.3"})


def test_groups_color_the_rows_by_the_first_part_that_their_name_contains():
    groups = {"harmonic": "harmonic readout", "": "cross-entropy readout"}
    figure = draw([point(head) for head in HEADS], groups=groups)
    colors = [line.get_color() for line in figure.axes[0].lines]
    assert colors == [STANDARD, HARMONIC, STANDARD, HARMONIC]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[:2] == ["cross-entropy readout", "harmonic readout"]
    assert [item.get_color() for item in figure.legends[0].get_lines()][:2] == [STANDARD, HARMONIC]
