import math
import statistics

import numpy as np
import pytest

from glassbox.reproduction.figures import sweep
from glassbox.reproduction.grid_point import GridPoint

COUNT, SHARE, EPOCH = "val/represented", "val/explained_fraction", "generalization/test_epoch"
METRICS = {COUNT: "features", SHARE: "explained share", EPOCH: "epochs"}
SCALES = {SHARE: "share", EPOCH: "epochs"}
SPARSITIES, MODELS = ("0.9", "0", "0.99", "0.5"), ("linear", "ReLU")


def point(model: str, sparsity: str, seeds: int = 5) -> GridPoint:
    rng = np.random.default_rng(int(1000 * float(sparsity)) + len(model))
    metrics = {
        COUNT: rng.integers(3, 20, seeds).astype(float),
        SHARE: rng.uniform(0.2, 0.9, seeds),
        EPOCH: rng.integers(2, 5000, seeds).astype(float),
    }
    return GridPoint({"model": model, "sparsity": sparsity}, list(range(seeds)), metrics, {})


def grid() -> list[GridPoint]:
    return [point(model, sparsity) for model in MODELS for sparsity in SPARSITIES]


def draw(points, **options):
    given = {"along": "sparsity", "lines": "model", "metrics": METRICS, "scales": SCALES}
    return sweep(points, **{**given, **options})


def line(axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    (matches,) = [line for line in axes.lines if line.get_label() == label]
    return np.asarray(matches.get_xdata()), np.asarray(matches.get_ydata())


def dots(axes) -> np.ndarray:
    """Places (dots, 2) of the seeds that have a value."""
    matches = [c for c in axes.collections if len(c.get_sizes()) and c.get_label() != "never"]
    return np.concatenate([np.asarray(one.get_offsets()) for one in matches])


def test_lines_are_medians_by_rising_number_in_any_order_of_points():
    for points in (grid(), grid()[::-1]):
        figure = draw(points)
        for axes, metric in zip(figure.axes, METRICS, strict=True):
            for model in MODELS:
                expected = []
                for sparsity in ("0", "0.5", "0.9", "0.99"):
                    (one,) = [
                        p for p in points if p.labels == {"model": model, "sparsity": sparsity}
                    ]
                    expected.append(statistics.median(one.metrics[metric].tolist()))
                x, y = line(axes, model)
                assert y == pytest.approx(expected)
                assert (np.diff(x) > 0).all()


def test_every_seed_is_a_dot_at_its_value():
    points = grid()
    for axes, metric in zip(draw(points).axes, METRICS, strict=True):
        values = sorted(value for one in points for value in one.metrics[metric])
        assert sorted(dots(axes)[:, 1]) == pytest.approx(values)


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ("linear", [0.2, 0.5, 0.9]),
        ("log", [math.log10(0.2), math.log10(0.5), math.log10(0.9)]),
        ("sparsity", [math.log10(1 / 0.8), math.log10(1 / 0.5), math.log10(1 / 0.1)]),
    ],
)
def test_numbers_are_placed_by_their_spacing(spacing, expected):
    points = [point("ReLU", sparsity) for sparsity in ("0.2", "0.5", "0.9")]
    axes = draw(points, lines=None, spacing=spacing).axes[0]
    assert line(axes, "median")[0] == pytest.approx(expected)
    shown = dict(
        zip((t.get_text() for t in axes.get_xticklabels()), axes.get_xticks(), strict=True)
    )
    assert [shown[text] for text in ("0.2", "0.5", "0.9")] == pytest.approx(expected)


def test_lines_are_shifted_to_either_side_of_their_number():
    axes = draw(grid(), spacing="sparsity").axes[0]
    (left, _), (right, _) = line(axes, "linear"), line(axes, "ReLU")
    true = [math.log10(1 / (1 - s)) for s in (0, 0.5, 0.9, 0.99)]
    assert (left + right) / 2 == pytest.approx(true, abs=1e-9)
    assert (left < right).all() and (right[:-1] < left[1:]).all()


def test_missing_point_leaves_a_gap_in_its_line_alone():
    points = [p for p in grid() if p.labels != {"model": "ReLU", "sparsity": "0.9"}]
    for axes in draw(points).axes:
        assert np.isnan(line(axes, "ReLU")[1]).tolist() == [False, False, True, False]
        assert np.isfinite(line(axes, "linear")[1]).all()


def test_panels_draw_each_value_of_an_axis_apart():
    figure = draw(grid(), lines=None, panels="model", metrics={COUNT: "features"}, scales={})
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["linear: features", "ReLU: features"]
    both = draw(grid(), metrics={COUNT: "features"}, scales={}).axes[0]
    for axes, model in zip(figure.axes, MODELS, strict=True):
        assert line(axes, "median")[1] == pytest.approx(line(both, model)[1])
