import numpy as np
import pytest

from glassbox.plots import group_colors, model_colors
from glassbox.plots.arrays import quartiles
from glassbox.plots.colors import CATEGORIES, text_on
from glassbox.plots.label_placement import compact, uncovered
from glassbox.plots.style import balanced_columns, index_ticks, log_ticks, shorten, wrap_title


def test_models_have_distinct_colors_in_any_order():
    names = ["standard MLP", "harmonic MLP", "standard transformer", "harmonic transformer"]
    assert len(set(model_colors(names))) == 4
    assert model_colors(names[::-1]) == model_colors(names)[::-1]
    assert model_colors(["M", "HM", "T", "HT"]) == model_colors(names)
    assert model_colors(["cross-entropy"]) == model_colors(["standard"])
    assert len(set(model_colors(["harmonic", "harmonic n=28", "mine", "yours"]))) == 4


@pytest.mark.parametrize("kind", ["cyclic", "sequential", "categorical"])
@pytest.mark.parametrize("count", [1, 2, 12, 31])
def test_groups_have_distinct_colors_and_nan_is_gray(kind, count):
    colors = group_colors([*range(count), np.nan], kind)
    assert colors.shape == (count + 1, 4)
    assert ((colors >= 0) & (colors <= 1)).all()
    assert len(np.unique(colors.round(4), axis=0)) == count + 1


def test_first_and_last_phase_are_neighbors():
    colors = group_colors(np.arange(31), "cyclic")
    steps = np.linalg.norm(np.diff(colors, axis=0, append=colors[:1]), axis=1)
    assert steps[-1] < 2 * np.median(steps)


def test_text_on_a_color_has_the_higher_contrast():
    assert text_on(np.array([[0, 0, 0, 1.0], [1, 1, 1, 1.0]])) == ["white", "black"]
    assert len(set(CATEGORIES)) == len(CATEGORIES)


def test_quartiles_agree_with_numpy_and_skip_nan():
    values = np.random.default_rng(0).random((9, 4))
    values[0, 1] = np.nan
    values[:, 2] = np.nan
    expected = np.quantile(values[1:, 1], [0.25, 0.5, 0.75])
    assert quartiles(values)[:, 1] == pytest.approx(expected)
    assert np.isnan(quartiles(values)[:, 2]).all()
    assert quartiles(values)[1, 0] == pytest.approx(np.median(values[:, 0]))


def test_texts_are_fitted():
    assert [compact(text) for text in ("(2,3)", "(12, 3)", "2031", "7")] == [
        "23",
        "(12, 3)",
        "2031",
        "7",
    ]
    assert shorten("short", 2.0, 7.0) == "short"
    assert shorten("x" * 99, 1.0, 7.0).endswith("…")
    assert wrap_title("", 3.0) == []
    assert log_ticks(1, 7000) == [1, 10, 100, 1000]
    assert log_ticks(5, 95) == [5, 10, 20, 50]
    assert [*index_ticks(20, 6)] == [0, 5, 10, 15] and [*index_ticks(1, 6)] == [0]
    assert [balanced_columns(7, limit) for limit in (9, 6, 3, 0)] == [7, 4, 3, 1]


def test_covered_points_are_not_labeled():
    points = np.array([[0.0, 0.0], [0.5, 0.0], [2.0, 0.0], [np.nan, 0.0]])
    assert uncovered(points, 1.0).tolist() == [True, False, True, False]
