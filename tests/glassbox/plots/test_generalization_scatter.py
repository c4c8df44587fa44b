import numpy as np
import pytest

from glassbox.plots import generalization_scatter

TRAIN = np.array([100.0, 200.0, 300.0, 150.0])
TEST = np.array([1000.0, np.nan, 2000.0, 900.0])


def dots(figure, name: str):
    (scatter,) = [item for item in figure.axes[0].collections if item.get_label().startswith(name)]
    return scatter


def tick_texts(axis) -> list[str]:
    return [axis.get_major_formatter()(place, None) for place in axis.get_majorticklocs()]


def test_train_epoch_is_on_x_and_test_epoch_on_y_both_logarithmic():
    figure = generalization_scatter(TRAIN, TEST, title="grokking")
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_aspect() == 1 and axes.get_xlim() == axes.get_ylim()
    places = dots(figure, "generalizes").get_offsets()
    assert np.asarray(places) == pytest.approx(np.array([[100, 1000], [300, 2000], [150, 900]]))


def test_runs_that_never_generalize_are_hollow_above_all_others():
    figure = generalization_scatter(TRAIN, TEST)
    never = dots(figure, "never")
    ((x, y),) = np.asarray(never.get_offsets())
    assert x == 200 and y > 2000
    assert len(never.get_facecolor()) == 0
    assert tick_texts(figure.axes[0].yaxis)[-1] == "never"
    assert "never" not in tick_texts(figure.axes[0].xaxis)


def test_runs_that_never_fit_are_in_a_strip_at_the_right():
    train = np.array([100.0, np.nan, np.nan, 150.0])
    figure = generalization_scatter(train, TEST)
    assert tick_texts(figure.axes[0].xaxis)[-1] == "never"
    places = np.asarray(dots(figure, "generalizes").get_offsets())
    assert places[1, 0] > 2000 and places[1, 1] == 2000
    drawn = len(places) + len(dots(figure, "never").get_offsets())
    assert drawn == 4


def test_there_is_no_strip_without_a_run_that_never_learns():
    figure = generalization_scatter(TRAIN, TRAIN * 2)
    assert not figure.axes[0].patches


@pytest.mark.parametrize(
    ("train", "test"), [([np.nan] * 20, [np.nan] * 20), ([0.0], [0.0]), ([1.0], [np.nan])]
)
def test_unusual_inputs_can_be_drawn(train, test):
    figure = generalization_scatter(train, test)
    figure.canvas.draw()
    offsets = [np.asarray(item.get_offsets()) for item in figure.axes[0].collections]
    assert np.isfinite(np.concatenate(offsets)).all()
