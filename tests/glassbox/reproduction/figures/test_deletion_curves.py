"""The deletion curves of a study: one for each point, of as many texts as were swept."""

import numpy as np
import pytest

from glassbox.reproduction.figures import deletion_curves
from glassbox.reproduction.grid_point import GridPoint

PERCENTS = np.array([0.0, 30.0, 60.0])


def point(name, highest, texts=None):
    seeds = len(highest)
    arrays = {
        "percents": np.tile(PERCENTS, (seeds, 1)),
        "accuracy_highest": np.array(highest),
        "accuracy_lowest": np.full((seeds, 3), 0.8),
        "accuracy_random": np.full((seeds, 2, 3), 0.7),
    }
    metrics = {} if texts is None else {"test/deletion/swept_texts": np.full(seeds, float(texts))}
    return GridPoint({"weights": name}, range(seeds), metrics, arrays)


def texts_of(figure):
    from matplotlib.text import Text

    return " ".join(text.get_text() for text in figure.findobj(Text))


def lines_of(figure):
    return [line.get_ydata() for axes in figure.axes for line in axes.get_lines()]


def test_each_point_has_the_median_of_its_seeds():
    old = point("old", [[0.9, 0.5, 0.3], [0.8, 0.6, 0.3], [0.8, 0.4, 0.1]])
    figure = deletion_curves([old, point("new", [[0.9, 0.2, 0.1]])])
    for expected in ([0.8, 0.5, 0.3], [0.9, 0.2, 0.1]):
        assert any(len(y) == 3 and np.allclose(y, expected) for y in lines_of(figure))
    assert "old" in texts_of(figure) and "new" in texts_of(figure)


def test_the_title_has_the_number_of_texts():
    figure = deletion_curves([point("old", [[0.9, 0.5, 0.3]], texts=2016)], title="IMDB")
    assert "IMDB · 2,016 texts" in texts_of(figure)
    mixed = [point("old", [[0.9, 0.5, 0.3]], 2016), point("new", [[0.9, 0.5, 0.3]], 25000)]
    assert "texts" not in texts_of(deletion_curves(mixed, title="IMDB"))


def test_only_named_points_are_drawn():
    points = [point("old", [[0.9, 0.5, 0.3]]), point("new", [[0.9, 0.2, 0.1]])]
    assert "new" not in texts_of(deletion_curves(points, names=["old"]))
    with pytest.raises(ValueError, match="none of these"):
        deletion_curves(points, names=["newer"])
