import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from glassbox.plots import model_colors
from glassbox.reproduction.figures import explained_variance_by_model
from glassbox.reproduction.grid_point import GridPoint

PREFIX = "val/embedding/explained_variance_"
CURVES = np.array([[0.1, 0.3, 0.4], [0.5, 0.7, 0.9], [0.3, 0.4, 0.8]])  # (seeds, components)
MODELS = ["standard MLP", "harmonic MLP"]
BAND = "line: median, band: quartiles"


def point(task: str, model: str, curves: np.ndarray = CURVES, prefix: str = PREFIX) -> GridPoint:
    metrics = {f"{prefix}{k + 1}": values for k, values in enumerate(np.asarray(curves).T)}
    return GridPoint({"task": task, "model": model}, list(range(len(curves))), metrics, {})


def heights(axes) -> list[list[float]]:
    return [list(line.get_ydata()) for line in axes.lines]


def legend_of(holder) -> list[str]:
    return [text.get_text() for text in holder.texts]


def test_one_panel_for_each_task_with_a_line_of_medians_for_each_model():
    points = [point(task, model) for task in ("lattice", "circle") for model in MODELS]
    figure = explained_variance_by_model(points)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["lattice", "circle"]
    for axes in figure.axes:
        assert heights(axes) == [pytest.approx([0.3, 0.4, 0.8])] * 2
        assert [line.get_color() for line in axes.lines] == model_colors(MODELS)
        assert list(axes.lines[0].get_xdata()) == [1, 2, 3]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert legend_of(figure.legends[0])[:2] == MODELS


def test_the_band_reaches_from_quartile_to_quartile():
    axes = explained_variance_by_model([point("lattice", "MLP")]).axes[0]
    (band,) = [item for item in axes.collections if isinstance(item, PolyCollection)]
    edges = band.get_paths()[0].vertices
    at_two = edges[edges[:, 0] == 2, 1]  # seeds 0.3, 0.4, 0.7
    assert (at_two.min(), at_two.max()) == pytest.approx((0.35, 0.55))


def test_a_task_may_have_metrics_of_its_own_and_says_that_they_are_about_all_tokens():
    other = point("equivalence", "MLP", CURVES / 2, prefix=f"{PREFIX}all_")
    figure = explained_variance_by_model(
        [point("lattice", "MLP"), other], prefix={"equivalence": f"{PREFIX}all_", "absent": "x"}
    )
    assert figure.axes[1].get_title(loc="left") == "equivalence (all tokens)"
    assert heights(figure.axes[1]) == [pytest.approx([0.15, 0.2, 0.4])]


def test_missing_points_and_seeds_are_noted_in_their_panel():
    diverged = np.vstack([CURVES, [[np.nan] * 3]])
    points = [
        point("lattice", MODELS[0], np.vstack([CURVES, CURVES[:1]])),
        point("lattice", MODELS[1], diverged),
        point("circle", MODELS[0], CURVES[:1]),
    ]
    figure = explained_variance_by_model(points)
    assert legend_of(figure.axes[0].get_legend()) == ["3 of 4 seeds"]
    assert legend_of(figure.axes[1].get_legend()) == ["1 of 4 seeds", "not run"]
    assert heights(figure.axes[0])[1] == pytest.approx([0.3, 0.4, 0.8])
    assert len(figure.axes[1].lines) == 1
