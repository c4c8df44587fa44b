import numpy as np
import pytest
from matplotlib.collections import LineCollection

from glassbox.reproduction.figures import case_study
from glassbox.reproduction.grid_point import GridPoint

EPOCHS = np.arange(0.0, 50.0, 10.0)
SEEDS = [0, 50, 7]


def run(name: str, *, leak: float = 0.4, seeds: list[int] = SEEDS) -> GridPoint:
    count = len(seeds)
    speed = np.arange(1, count + 1)[:, None]
    angle = 2 * np.pi * np.arange(31) / 31
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    metrics = {
        "val/embedding/explained_variance_2": np.linspace(0.2, 0.8, count),
        "data/leak_fraction": leak * np.linspace(1, 2, count),
        "generalization/test_epoch": np.where(np.arange(count) == 1, np.nan, 30.0),
    }
    arrays = {
        "epochs": np.tile(EPOCHS, (count, 1)),
        "train_accuracy": np.clip(EPOCHS * speed / 60, 0, 1),
        "test_accuracy": np.clip(EPOCHS * speed / 120, 0, 1),
        "coordinates": circle * np.arange(1, count + 1)[:, None, None],
        "groups": np.tile(np.arange(31), (count, 1)),
    }
    return GridPoint({"run": name}, seeds, metrics, arrays)


def curve(axes, label: str) -> np.ndarray:
    (match,) = [line for line in axes.lines if line.get_label() == label]
    return np.asarray(match.get_ydata())


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_the_chosen_seed_is_strong_and_all_seeds_are_faint():
    point = run("standard")
    axes = case_study([point], seed=50).axes[0]
    assert curve(axes, "test") == pytest.approx(point.arrays["test_accuracy"][1])
    assert curve(axes, "train") == pytest.approx(point.arrays["train_accuracy"][1])
    faint = [item for item in axes.collections if isinstance(item, LineCollection)]
    assert [len(item.get_segments()) for item in faint] == [3, 3]


def test_embedding_is_that_of_the_seed_with_its_explained_variance_and_numbers():
    _, below = case_study([run("standard")], seed=7).axes
    assert "embedding of seed 7 · EV 80 %" in texts(below)
    assert {str(number) for number in range(31)} <= set(texts(below))
    (dots,) = [item for item in below.collections if len(item.get_offsets()) == 31]
    assert np.hypot(*np.asarray(dots.get_offsets()).T) == pytest.approx(3.0)  # the third circle


def test_without_a_seed_the_median_curve_and_embedding_are_drawn():
    point = run("standard")
    above, below = case_study([point]).axes
    expected = np.median(point.arrays["test_accuracy"], axis=0)
    assert curve(above, "test") == pytest.approx(expected)
    assert "embedding of the median seed, 50 · EV 50 %" in texts(below)


def test_leak_of_the_seed_is_a_dashed_line_where_there_is_one():
    above, _ = case_study([run("standard")], seed=50).axes
    assert [line.get_ydata()[0] for line in above.lines if line.is_dashed()] == [pytest.approx(0.6)]
    figure = case_study([run("standard", leak=0.0)])
    assert not any(line.is_dashed() for line in figure.axes[0].lines)
    assert len(figure.legends[0].get_texts()) == 3


def test_numbers_without_room_are_counted_below_the_embedding():
    point = run("standard", seeds=[0])
    point.arrays["coordinates"][0, 20:] = 0.0  # eleven on top of one another
    _, below = case_study([point]).axes
    assert sum(text.isdigit() for text in texts(below)) == 21
    assert below.get_xlabel() == "no room for 10 of 31 numbers"
    point.arrays["coordinates"][0, 25:] = np.nan  # these are no points at all
    assert case_study([point]).axes[1].get_xlabel() == "no room for 4 of 31 numbers"


def test_a_run_without_the_chosen_seed_shows_the_others():
    figure = case_study([run("standard"), run("harmonic", seeds=[0, 7])], seed=50)
    _, lacking, _, below = figure.axes
    assert "seed 50 is not finished" in texts(below)
    assert not [line for line in lacking.lines if line.get_label() in ("train", "test")]
    assert any(isinstance(item, LineCollection) for item in lacking.collections)


def test_runs_of_several_lengths_are_drawn_to_the_longest():
    point = run("standard")
    for name in ("epochs", "train_accuracy", "test_accuracy"):
        point.arrays[name][0, 3:] = np.nan
    figure = case_study([point])
    figure.canvas.draw()
    expected = np.nanmedian(point.arrays["test_accuracy"], axis=0)
    assert curve(figure.axes[0], "test") == pytest.approx(expected)
    assert figure.axes[0].get_xlim()[1] == 41  # epochs are counted from 0: there are 41


def test_seeds_measured_at_different_epochs_are_refused():
    point = run("standard")
    point.arrays["epochs"][0] += 1
    with pytest.raises(ValueError, match="'standard' were measured at different epochs"):
        case_study([point])
