import numpy as np
import pytest

from glassbox.reproduction.figures import exponents
from glassbox.reproduction.grid_point import GridPoint

EV, ACCURACY, EPOCH = (
    "val/embedding/explained_variance_2",
    "test/accuracy",
    "generalization/test_epoch",
)


def point(task: str, exponent: str, epochs=(100.0, 200.0, 400.0)) -> GridPoint:
    count = len(epochs)
    metrics = {
        EV: np.linspace(0.2, 0.4, count) + 0.01 * float(exponent),
        ACCURACY: np.linspace(0.1, 0.3, count) + 0.01 * float(exponent),
        EPOCH: np.array(epochs),
    }
    return GridPoint({"task": task, "exponent": exponent}, list(range(count)), metrics, {})


def sweep(*tasks: str) -> list[GridPoint]:
    return [point(task, exponent) for task in tasks for exponent in ("16", "1", "4", "2")]


def median(axes) -> tuple[np.ndarray, np.ndarray]:
    (line,) = [line for line in axes.lines if line.get_label() == "median"]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def never(axes) -> int:
    return sum(len(i.get_offsets()) for i in axes.collections if i.get_label() == "never")


def never_place(axes) -> float:
    axes.figure.canvas.draw()
    ticks = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    return float(*(tick for tick, label in ticks if label.get_text() == "never"))


def test_lines_are_medians_over_the_exponent_in_any_order_of_points():
    for points in (sweep("lattice"), sweep("lattice")[::-1]):
        top, middle, _ = exponents(points).axes
        assert top.get_xscale() == "log"
        x, y = median(top)
        assert x.tolist() == [1, 2, 4, 16]
        assert y == pytest.approx([0.31, 0.32, 0.34, 0.46])
        assert median(middle)[1] == pytest.approx([0.21, 0.22, 0.24, 0.36])


def test_never_counts_as_later_than_any_epoch():
    points = [
        point("lattice", "1", (np.nan, np.nan, 300.0)),  # the median seed is missing
        point("lattice", "2", (np.nan, 200.0, 400.0)),
        point("lattice", "4", (100.0, 200.0, 300.0)),
    ]
    axes = exponents(points).axes[2]
    place = never_place(axes)
    assert place > 400
    assert median(axes)[1] == pytest.approx([place, 400, 200])
    assert never(axes) == 3


def test_seeds_that_reach_90_percent_are_counted_below_their_exponent():
    points = [point("lattice", "1", (np.nan, np.nan, 300.0)), point("lattice", "2")]
    axes = exponents(points).axes[2]
    written = {text.get_text(): text.xy[0] for text in axes.texts}
    assert (written["1/3"], written["3/3"]) == (1, 2)
    assert "reach 90 %:" in written
