import numpy as np
import pytest

from glassbox.plots import model_colors
from glassbox.reproduction.figures import data_efficiency
from glassbox.reproduction.grid_point import GridPoint

FRACTIONS = ("0.1", "0.5", "0.9")
MODELS = ("cross-entropy MLP", "harmonic MLP")


def grid(leak: float = 0.25, tasks: tuple[str, ...] = ("lattice", "circle")) -> list[GridPoint]:
    """Three seeds each; test accuracy rises with the fraction, and differs between everything."""
    points = []
    for row, task in enumerate(tasks):
        for column, model in enumerate(MODELS):
            for fraction in FRACTIONS:
                start = float(fraction) / 2 + 0.1 * row + 0.05 * column
                metrics = {
                    "test/accuracy": start + np.array([0.0, 0.04, 0.2]),
                    "test/accuracy_clean": start + np.array([0.0, 0.01, 0.1]),
                    "data/leak_fraction": np.array([0.5, 1.0, 2.0]) * leak,
                }
                labels = {"task": task, "model": model, "train fraction": fraction}
                points.append(GridPoint(labels, [0, 1, 2], metrics, {}))
    return points


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def line(axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    (match,) = [line for line in axes.lines if line.get_label() == label]
    return np.asarray(match.get_xdata()), np.asarray(match.get_ydata())


def test_lines_are_medians_over_the_fraction_in_any_order_of_points():
    points = grid()
    for figure in (data_efficiency(points), data_efficiency(points[::-1])):
        titled = {axes.get_title(loc="left"): axes for axes in figure.axes}
        x, y = line(titled["circle"], "harmonic MLP")
        assert x == pytest.approx([0.1, 0.5, 0.9])
        assert y == pytest.approx([0.05 + 0.19, 0.25 + 0.19, 0.45 + 0.19])


def test_second_row_shows_clean_inputs_where_some_are_leaked():
    figure = data_efficiency(grid())
    assert len(figure.axes) == 4
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert "all test inputs" in labels[0] and "never trained on" in labels[2]
    _, all_inputs = line(figure.axes[0], "harmonic MLP")
    _, clean = line(figure.axes[2], "harmonic MLP")
    assert all_inputs - clean == pytest.approx([0.03] * 3)


def test_missing_point_leaves_a_gap_and_nan_is_left_out_of_the_median():
    points = grid(tasks=("lattice",))
    del points[1]  # cross-entropy MLP at 0.5
    points[-1].metrics["test/accuracy"][2] = np.nan  # harmonic MLP at 0.9
    figure = data_efficiency(points)
    figure.canvas.draw()
    _, gap = line(figure.axes[0], "cross-entropy MLP")
    assert np.isnan(gap).tolist() == [False, True, False]
    _, whole = line(figure.axes[0], "harmonic MLP")
    assert whole[2] == pytest.approx(0.45 + 0.05 + 0.02)


def test_the_legend_has_the_number_of_seeds_per_model_if_it_differs():
    points = grid(leak=0.0)
    fewer = [p for p in points if p.labels["train fraction"] == "0.5"]
    for point in fewer:
        point.metrics["test/accuracy"][:2] = np.nan  # one seed of three is left
    assert legend(data_efficiency(points))[-1] == "line: median, band: quartiles of 1 to 3 seeds"
    for point in points:
        point.metrics["test/accuracy"] = np.arange(2.0 + (point.labels["model"] == MODELS[0]))
    assert legend(data_efficiency(points)) == [
        "cross-entropy MLP (3 seeds)",
        "harmonic MLP (2 seeds)",
        "line: median, band: quartiles",
    ]


def test_a_gap_is_bridged_by_dashes_which_the_legend_explains():
    points = grid(tasks=("lattice",))
    assert "dashed: fractions that were not run" not in legend(data_efficiency(points))
    del points[1]  # cross-entropy MLP at 0.5
    figure = data_efficiency(points)
    assert legend(figure)[-1] == "dashed: fractions that were not run"
    for axes in figure.axes:
        x, y = line(axes, MODELS[0])
        (bridge,) = [item for item in axes.lines if item.is_dashed()]
        assert bridge.get_color() == model_colors(MODELS)[0]
        assert np.asarray(bridge.get_xdata()).tolist() == [x[0], x[2]] == [0.1, 0.9]
        assert np.asarray(bridge.get_ydata()).tolist() == [y[0], y[2]]


def test_a_panel_lists_models_that_were_not_run():
    points = grid()
    lattice = {("harmonic MLP", fraction) for fraction in FRACTIONS} | {(MODELS[0], "0.9")}
    for point in list(points):
        task, model, fraction = point.labels.values()
        if task == "lattice" and (model, fraction) in lattice:
            points.remove(point)
    upper, complete, *lower = data_efficiency(points).axes
    notes = upper.get_legend()
    assert [text.get_text() for text in notes.get_texts()] == ["not run"]
    assert [item.get_color() for item in notes.get_lines()] == model_colors(MODELS)[1:]
    assert not any(axes.get_legend() for axes in (complete, *lower))


def test_a_median_between_two_gaps_keeps_its_quartiles():
    points = grid(tasks=("lattice",))
    del points[4]  # harmonic MLP at 0.5
    axes = data_efficiency(points).axes[0]
    bars = [
        item for item in axes.lines if item.get_label().startswith("_") and not item.is_dashed()
    ]
    assert [list(bar.get_xdata()) for bar in bars] == [[0.1, 0.1], [0.9, 0.9]]
    for bar, start in zip(bars, (0.1, 0.5), strict=True):  # accuracies: start, 0.04 and 0.2 more
        assert bar.get_ydata() == pytest.approx([start + 0.02, start + 0.12])
