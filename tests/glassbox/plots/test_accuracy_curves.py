import numpy as np
import pytest
from matplotlib.collections import LineCollection

from glassbox.plots import accuracy_curves
from glassbox.plots.accuracy import MAX_EPOCHS, sample_epochs

EPOCHS = np.arange(1, 51)
TRAIN = np.linspace(0, 1, 50) * np.ones((4, 1))
TEST = TRAIN**4


def curve(figure, name: str) -> np.ndarray:
    (line,) = [line for line in figure.axes[0].lines if line.get_label().startswith(name)]
    return np.asarray(line.get_ydata())


def test_draws_the_median_and_every_seed():
    test = TEST * np.array([[1.0], [0.8], [0.5], [0.1]])
    figure = accuracy_curves(EPOCHS, TRAIN, test)
    assert curve(figure, "test") == pytest.approx(np.median(test, axis=0))
    faint = [item for item in figure.axes[0].collections if isinstance(item, LineCollection)]
    assert [len(item.get_segments()) for item in faint] == [4, 4]


def test_epoch_axis_is_logarithmic_by_default():
    assert accuracy_curves(EPOCHS, TRAIN, TEST).axes[0].get_xscale() == "log"
    linear = accuracy_curves(EPOCHS, TRAIN, TEST, log_epochs=False)
    assert linear.axes[0].get_xscale() == "linear"


def test_epoch_zero_is_left_out_of_a_log_axis_only():
    epochs = EPOCHS - 1
    assert accuracy_curves(epochs, TRAIN, TEST).axes[0].get_xlim()[0] == 1
    linear = accuracy_curves(epochs, TRAIN, TEST, log_epochs=False)
    assert len(curve(linear, "train")) == 50


def test_threshold_is_a_dashed_line():
    figure = accuracy_curves(EPOCHS, TRAIN, TEST, threshold=0.7)
    levels = [line.get_ydata()[0] for line in figure.axes[0].lines if line.is_dashed()]
    assert levels == [0.7]


def test_nan_is_left_out_of_the_median():
    test = TEST.copy()
    test[0, 20:] = np.nan
    test[:, 40:] = np.nan
    figure = accuracy_curves(EPOCHS, TRAIN, test)
    figure.canvas.draw()
    drawn = curve(figure, "test")
    assert drawn[:40] == pytest.approx(TEST[0, :40])
    assert np.isnan(drawn[40:]).all()


@pytest.mark.parametrize(("never", "marks"), [(1, [(42.5, 0.9)]), (2, [])])
def test_the_median_epoch_is_marked_unless_half_of_the_seeds_never_reach_the_threshold(
    never, marks
):
    test_epoch = [30, 40, 45, 50]
    test_epoch[4 - never :] = [np.nan] * never
    figure = accuracy_curves(EPOCHS, TRAIN, TEST, test_epoch=test_epoch)
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [tuple(dot.get_xydata()[0]) for dot in dots] == marks


@pytest.mark.parametrize("log", [True, False])
def test_long_series_are_sampled_from_first_to_last(log):
    epochs = np.arange(1.0, 7001.0)
    kept = sample_epochs(epochs, log=log)
    assert MAX_EPOCHS // 2 < len(kept) <= MAX_EPOCHS
    assert (kept[0], kept[-1]) == (0, 6999)
    assert (np.diff(kept) > 0).all()


def test_one_seed_and_one_epoch_can_be_drawn():
    accuracy_curves([5], [[0.5]], [[0.2]], title="start").canvas.draw()
    accuracy_curves([0], [[0.5]], [[0.2]], log_epochs=False).canvas.draw()


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"epochs": EPOCHS[:-1]}, "train"),
        ({"test": TEST[:2]}, "test"),
        ({"epochs": EPOCHS[::-1]}, "epochs"),
        ({"epochs": EPOCHS - 100}, "epochs"),
    ],
)
def test_wrong_input_is_refused(change, argument):
    with pytest.raises(ValueError, match=argument):
        accuracy_curves(**({"epochs": EPOCHS, "train": TRAIN, "test": TEST} | change))
