"""Weight images of a study: one seed per head, below the class means."""

import numpy as np

from glassbox.plots import weight_images
from glassbox.reproduction.figures import weight_images_by_head
from glassbox.reproduction.figures.weight_images import median_seed
from glassbox.reproduction.grid_point import GridPoint

RNG = np.random.default_rng(0)


def drawn(figure):
    """Images as they are colored, row by row: lists of (rows, columns, 4)."""
    rows: dict[float, list] = {}
    for axes in figure.axes:
        if axes.images:
            image = axes.images[0]
            top = round(float(axes.get_position().y0), 4)
            rows.setdefault(top, []).append(image.cmap(image.norm(image.get_array())))
    return [rows[top] for top in sorted(rows, reverse=True)]


def texts(figure):
    of_axes = [axes.get_title() for axes in figure.axes]
    return [text.get_text() for text in figure.texts] + of_axes


def point(head, network, accuracies=(0.9, 0.7, 0.8), units=False):
    size = len(accuracies)
    arrays = {
        "weight_images": RNG.normal(size=(size, 3, 4)),
        "class_means": RNG.random((size, 3, 4)),
        "image_shape": np.full((size, 2), 2),
    }
    metrics = {
        "test/accuracy": np.array(accuracies),
        "val/weight_images/near_zero_border": np.array([0.5] * size),
    }
    if units:
        arrays["image_units"] = np.tile([7, 1, 2], (size, 1))
    else:
        metrics["val/weight_images/correlation"] = np.array([0.25] * size)
    return GridPoint({"head": head, "network": network}, range(size), metrics, arrays)


def test_each_head_shows_its_median_seed_below_the_class_means():
    points = [point("cross-entropy", "one layer"), point("harmonic", "one layer")]
    figure = weight_images_by_head([*points, point("harmonic", "two layers", units=True)])
    rows = drawn(figure)
    assert len(rows) == 5  # means, and two for each head
    alone = drawn(weight_images(points[1].arrays["weight_images"][2], (2, 2)))
    assert np.array_equal(np.array(rows[3]), np.array(alone[0]))  # 0.8 is the median: seed 2
    written = texts(figure)
    assert {"cross-entropy", "harmonic", "seed 2"} <= set(written)
    assert "test 80.00 %" in written and "like means: r = 0.25" in written


def test_hidden_units_have_no_class_means_above_them():
    points = [point(head, "two layers", units=True) for head in ("cross-entropy", "harmonic")]
    figure = weight_images_by_head(points, network="two layers")
    assert len(drawn(figure)) == 4
    assert texts(figure).count("unit 7") == 2


def test_the_median_of_an_even_number_of_seeds_is_the_lower_and_unknown_ones_are_passed_by():
    assert median_seed(np.array([0.4, 0.1, 0.3, 0.2])) == 3
    assert median_seed(np.array([np.nan, 0.1, np.nan])) == 1
    assert median_seed(np.array([np.nan, np.nan])) == 0
