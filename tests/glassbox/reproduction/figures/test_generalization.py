import numpy as np
import pytest

from glassbox.plots import model_colors
from glassbox.reproduction.figures import generalization_by_model
from glassbox.reproduction.grid_point import GridPoint

NAN = np.nan
MODELS = ["standard MLP", "harmonic MLP"]


def point(task: str, model: str, train: list[float], test: list[float]) -> GridPoint:
    metrics = {
        "generalization/train_epoch": np.array(train, dtype=np.float64),
        "generalization/test_epoch": np.array(test, dtype=np.float64),
    }
    return GridPoint({"task": task, "model": model}, list(range(len(train))), metrics, {})


GROKS = point("circle", MODELS[0], [100, 200, 300, 150], [1000, NAN, 2000, NAN])
LEARNS = point("circle", MODELS[1], [50, 60, 70], [50, 66, 70])


def runs(axes) -> tuple[np.ndarray, np.ndarray]:
    """Places (R, 2) of the runs that are drawn full, and of those that are drawn hollow."""
    full = [item for item in axes.collections if len(item.get_facecolor())]
    hollow = [item for item in axes.collections if not len(item.get_facecolor())]
    full_places, hollow_places = (
        np.concatenate([np.asarray(item.get_offsets()) for item in group] or [np.zeros((0, 2))])
        for group in (full, hollow)
    )
    return full_places, hollow_places


def tick_texts(axis) -> list[str]:
    return [axis.get_major_formatter()(place, None) for place in axis.get_majorticklocs()]


def legend_of(holder) -> list[str]:
    return [text.get_text() for text in holder.texts]


def test_train_epoch_is_on_x_and_test_epoch_on_y_both_logarithmic():
    figure = generalization_by_model([GROKS, LEARNS])
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_aspect()) == ("log", "log", 1)
    full, _ = runs(axes)
    expected = [[100, 1000], [300, 2000], [50, 50], [60, 66], [70, 70]]
    assert full == pytest.approx(np.array(expected))
    assert "test" in axes.get_ylabel()
    assert any("train" in text.get_text() for text in figure.texts)


def test_panels_can_be_another_axis_which_their_titles_name():
    labels = [{"model": MODELS[0], "train fraction": share} for share in ("0.5", "0.8")]
    points = [GridPoint(name, GROKS.seeds, GROKS.metrics, {}) for name in labels]
    figure = generalization_by_model(points, panels="train fraction")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["train fraction 0.5", "train fraction 0.8"]
    assert [len(runs(axes)[0]) for axes in figure.axes] == [2, 2]
    with pytest.raises(ValueError, match="needs an axis 'task'"):
        generalization_by_model(points)


def test_runs_that_never_generalize_are_hollow_above_all_others_and_counted():
    axes = generalization_by_model([GROKS, LEARNS]).axes[0]
    full, hollow = runs(axes)
    assert list(hollow[:, 0]) == [200, 150]
    assert hollow[:, 1].min() > full[:, 1].max()
    assert hollow[:, 1].max() < axes.get_ylim()[1]
    assert legend_of(axes.get_legend()) == ["2 of 4 never"]
    assert axes.get_legend().legend_handles[0].get_color() == model_colors(MODELS)[0]
    assert tick_texts(axes.yaxis)[-1] == "never"
    assert "never" not in tick_texts(axes.xaxis)


def test_runs_that_never_fit_are_in_a_strip_at_the_right():
    points = [point("circle", "MLP", [10, NAN, NAN, NAN], [20, NAN, NAN, 50])]
    axes = generalization_by_model(points).axes[0]
    full, hollow = runs(axes)
    assert tick_texts(axes.xaxis)[-1] == "never"
    assert (hollow > 50).all() and hollow[0, 0] != hollow[1, 0]
    assert full[1, 1] == 50 and full[1, 0] > 50
    assert (full < axes.get_xlim()[1]).all() and (hollow < axes.get_xlim()[1]).all()
    assert len(full) + len(hollow) == 4


@pytest.mark.parametrize(
    ("train", "test"), [([NAN] * 20, [NAN] * 20), ([0.0], [0.0]), ([1.0], [NAN])]
)
def test_unusual_epochs_can_be_drawn(train, test):
    figure = generalization_by_model([point("circle", "MLP", train, test)])
    figure.canvas.draw()
    full, hollow = runs(figure.axes[0])
    assert np.isfinite(full).all() and np.isfinite(hollow).all()
    assert len(full) + len(hollow) == len(train)
