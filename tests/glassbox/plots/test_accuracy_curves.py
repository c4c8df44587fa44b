import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import LineCollection

from glassbox.plots import accuracy_curves
from glassbox.plots.accuracy import MOST_EPOCHS, sample_epochs

EPOCHS = np.arange(1, 51)
TRAIN = np.linspace(0, 1, 50) * np.ones((4, 1))
TEST = TRAIN**4


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().texts]


def curve(figure, name: str) -> np.ndarray:
    (line,) = [line for line in figure.axes[0].lines if line.get_label().startswith(name)]
    return np.asarray(line.get_ydata())


def test_draws_the_median_and_every_seed():
    test = TEST * np.array([[1.0], [0.8], [0.5], [0.1]])
    figure = accuracy_curves(EPOCHS, TRAIN, test)
    assert curve(figure, "test") == pytest.approx(np.median(test, axis=0))
    faint = [item for item in figure.axes[0].collections if isinstance(item, LineCollection)]
    assert [len(item.get_segments()) for item in faint] == [4, 4]


def test_epoch_axis_is_logarithmic_unless_told_otherwise():
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


def test_legend_counts_the_seeds_that_hold_the_threshold():
    figure = accuracy_curves(
        EPOCHS, TRAIN, TEST, train_epoch=[10, 12, 14, 16], test_epoch=[30, 40, 45, np.nan]
    )
    assert legend(figure) == [
        "train: 4 of 4 seeds hold 90 %, from epoch 13 (median)",
        "test: 3 of 4 seeds hold 90 %, from epoch 42 (median)",
    ]


def test_median_epoch_is_not_given_when_half_of_the_seeds_never_hold():
    figure = accuracy_curves(EPOCHS, TRAIN, TEST, test_epoch=[30, 40, np.nan, np.nan])
    assert legend(figure) == ["train", "test: 2 of 4 seeds hold 90 %"]


def test_nan_is_left_out_of_the_median():
    test = TEST.copy()
    test[0, 20:] = np.nan
    test[:, 40:] = np.nan
    figure = accuracy_curves(EPOCHS, TRAIN, test)
    figure.canvas.draw()
    drawn = curve(figure, "test")
    assert drawn[:40] == pytest.approx(TEST[0, :40])
    assert np.isnan(drawn[40:]).all()


@pytest.mark.parametrize("log", [True, False])
def test_long_series_are_sampled_from_first_to_last(log):
    epochs = np.arange(1.0, 7001.0)
    kept = sample_epochs(epochs, log=log)
    assert MOST_EPOCHS // 2 < len(kept) <= MOST_EPOCHS
    assert (kept[0], kept[-1]) == (0, 6999)
    assert (np.diff(kept) > 0).all()


def test_one_seed_and_one_epoch_can_be_drawn():
    accuracy_curves([5], [[0.5]], [[0.2]], title="start").canvas.draw()
    accuracy_curves([0], [[0.5]], [[0.2]], log_epochs=False).canvas.draw()
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": EPOCHS[:-1]}, "train has shape"),
        ({"train": TRAIN[0]}, "train has shape"),
        ({"test": TEST[:2]}, "test has shape"),
        ({"test_epoch": [1.0]}, "test_epoch has shape"),
        ({"epochs": EPOCHS[::-1]}, "epochs must be finite and increasing"),
        ({"epochs": EPOCHS - 100}, "needs an epoch of 1 or later"),
    ],
)
def test_wrong_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        accuracy_curves(**({"epochs": EPOCHS, "train": TRAIN, "test": TEST} | change))
