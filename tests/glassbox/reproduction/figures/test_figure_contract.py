"""What holds for every figure over grid points: text stays inside, wrong points raise one line."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from glassbox.metrics import coset_partitions
from glassbox.reproduction import figures
from glassbox.reproduction.grid_point import GridPoint

VARIANCE = [f"val/embedding/explained_variance_{k}" for k in (1, 2, 3)]
EPOCHS = ["generalization/train_epoch", "generalization/test_epoch"]
ACCURACY = ["test/accuracy", "test/accuracy_clean", "data/leak_fraction"]
TASK, MODEL = ["modular addition", "a task with a long name"], ["cross-entropy MLP", "harmonic MLP"]
HEAD = {"rows": "head", "metrics": {ACCURACY[0]: "accuracy"}}
LABEL = "a metric whose name takes more than one line"
# Figure -> axes of its grid, metrics, names of arrays, options.
CASES: dict[str, tuple[Mapping[str, list[str]], list[str], list[str], dict[str, Any]]] = {
    "by_category": ({"head": MODEL}, ACCURACY, [], HEAD),
    "case_study": ({"run": MODEL}, [VARIANCE[1], ACCURACY[2], EPOCHS[1]], ["curves", "points"], {}),
    "coset_null": (
        {"model": MODEL},
        ["val/embedding/coset_silhouette", "val/embedding/best_coset"],
        [],
        {"null": np.linspace(0, 0.1, 50)},
    ),
    "data_efficiency": (
        {"task": TASK, "model": MODEL, "train fraction": ["0.1", "0.5"]}, ACCURACY, [], {}
    ),
    "embeddings_by_model": ({"task": TASK, "model": MODEL}, [VARIANCE[1]], ["points"], {}),
    "explained_variance_by_model": ({"task": TASK, "model": MODEL}, VARIANCE, [], {}),
    "generalization_by_model": ({"task": TASK, "model": MODEL}, EPOCHS, [], {}),
    "sweep": (
        {"sparsity": ["0", "0.9", "0.99"]},
        VARIANCE,
        [],
        {"along": "sparsity", "metrics": dict.fromkeys(VARIANCE, LABEL), "spacing": "sparsity"},
    ),
}  # fmt: skip


def points_of(name: str, seeds: int = 3) -> list[GridPoint]:
    axes, metrics, arrays, _ = CASES[name]
    rng = np.random.default_rng(0)
    points = []
    for labels in itertools.product(*axes.values()):
        values = {metric: rng.uniform(0.1, 1, seeds) for metric in metrics}
        values |= {
            metric: rng.integers(1, 900, seeds) * 1.0 for metric in metrics if metric in EPOCHS
        }
        if "val/embedding/best_coset" in metrics:
            values["val/embedding/best_coset"] = np.array([coset_partitions()[0].name] * seeds)
        made: dict[str, np.ndarray] = {}
        if "points" in arrays:
            made["coordinates"] = rng.normal(size=(seeds, 9, 2))
        if "curves" in arrays:
            made["epochs"] = np.tile(np.arange(0.0, 60, 10), (seeds, 1))
            made |= {f"{of}_accuracy": rng.random((seeds, 6)) for of in ("train", "test")}
        labeled = dict(zip(axes, labels, strict=True))
        points.append(GridPoint(labeled, list(range(seeds)), values, made))
    return points


def draw(name: str, points: list[GridPoint], **options: Any) -> Figure:
    function: Callable[..., Figure] = getattr(figures, name)
    return function(points, **{**CASES[name][3], **options})


@pytest.mark.parametrize("name", CASES)
def test_text_stays_inside_the_figure(name):
    figure = draw(name, points_of(name), title="A title that takes several lines. " * 6)
    figure.canvas.draw()
    edge = figure.get_window_extent().padded(1)
    texts = list(figure.texts)
    for axes in figure.axes:
        texts += [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
    for text in texts:
        box = text.get_window_extent()
        if text.get_text().strip():
            assert edge.x0 <= box.x0 and box.x1 <= edge.x1, text.get_text()
            assert edge.y0 <= box.y0 and box.y1 <= edge.y1, text.get_text()


@pytest.mark.parametrize("name", CASES)
def test_one_seed_and_points_without_any_value_can_be_drawn(name):
    draw(name, points_of(name, seeds=1)).draw_without_rendering()
    points = points_of(name)
    for values in points[0].metrics.values():
        if values.dtype.kind == "f":
            values[:] = np.nan
    draw(name, points).draw_without_rendering()


@pytest.mark.parametrize("name", CASES)
def test_missing_points_axes_and_metrics_raise_one_line(name):
    points = points_of(name)
    axis = next(iter(points[0].labels))
    relabeled = [replace(p, labels={f"no {k}": v for k, v in p.labels.items()}) for p in points]
    unmeasured = [replace(p, metrics={}, arrays={}) for p in points]
    for wrong, named in (
        ([], "no points"),
        ([*points, points[0]], "2 points"),
        (relabeled, f"'{axis}'"),
        (unmeasured, "have no (metric|array) '"),
    ):
        with pytest.raises(ValueError, match=named) as caught:
            draw(name, wrong)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "option"),
    [
        ("by_category", {"metrics": {}}, "metrics"),
        ("by_category", {"metrics": [ACCURACY[0]]}, "metrics"),
        ("by_category", {"scales": {ACCURACY[0]: "ln"}}, "scale"),
        ("by_category", {"scales": {"val/loss": "log"}}, "scales"),
        ("by_category", {"where": {"head": "focal"}}, "no points"),
        ("coset_null", {"null": []}, "null"),
        ("coset_null", {"null": [0.1, np.nan]}, "null"),
        ("coset_null", {"quantile": 99}, "quantile"),
        ("embeddings_by_model", {"columns": 0}, "columns"),
        ("explained_variance_by_model", {"components": 0}, "components"),
        ("sweep", {"spacing": "even"}, "spacing"),
        ("sweep", {"spacing": "log"}, "spacing"),
        ("sweep", {"columns": 0}, "columns"),
        ("sweep", {"lines": "optimizer"}, "'optimizer'"),
    ],
)
def test_an_invalid_option_is_named(name, options, option):
    with pytest.raises(ValueError, match=option) as caught:
        draw(name, points_of(name), **options)
    assert "\n" not in str(caught.value)
