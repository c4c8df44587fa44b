"""Weights on the pixels under each loss, as images below the class means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from glassbox.plots.arrays import Floats
from glassbox.plots.weight_images import (
    ImageRow,
    as_images,
    class_means_row,
    image_rows,
    weight_rows,
)
from glassbox.reproduction.figures.select_points import array_of, axis_values, numbers_of, point_at
from glassbox.reproduction.grid_point import GridPoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACCURACY, CORRELATION = "test/accuracy", "val/weight_images/correlation"
BORDER = "val/weight_images/near_zero_border"


def weight_images_by_head(
    points: Sequence[GridPoint], *, title: str = "", network: str | None = None
) -> Figure:
    """Draw the weights of one seed under each head, below the mean images of the classes.

    After Figure 5 of the harmonic-loss paper: for each head the weights, and which of them lie
    within 0.01 of zero (the paper omits the absolute value, so that large negative ones count too).
    The seed is that of the median test accuracy; beside the images are medians over all seeds.

    Args:
        points: With the axes "network" and "head", the arrays of the probe ``WeightImages``
            (``weight_images``, ``class_means``, ``image_shape``, and ``image_units`` of a hidden
            layer), the metrics ``test/accuracy`` and ``val/weight_images/near_zero_border``, and
            ``val/weight_images/correlation`` for heads on the pixels.
        network: The value of "network" that is drawn; by default, or if it has no finished run,
            the first.
    """
    networks = axis_values(points, "network")
    chosen = network if network in networks else networks[0]
    rows: list[ImageRow] = []
    of_units = False
    drawn = [point for point in points if point.labels["network"] == chosen]
    for head in axis_values(drawn, "head"):
        point = point_at(drawn, {"head": head})
        assert point is not None  # values are those of the points
        row = median_seed(numbers_of(point, ACCURACY))
        height, width = array_of(point, "image_shape")[0].astype(int).tolist()
        shape = (height, width)
        captions: list[str] = []
        units = point.array("image_units")
        if units is not None:
            of_units = True
            captions = [f"unit {unit:.0f}" for unit in units[row]]
        elif not rows:
            rows.append(class_means_row(array_of(point, "class_means")[row], shape))
        images = as_images(array_of(point, "weight_images")[row], shape, "weight_images")
        weights, near = weight_rows(images, head, captions)
        border = f"border: {_median(point, BORDER, 100):.0f} % yellow"
        rows += [
            ImageRow(weights.images, head, _facts(point, row), weights.kind, captions),
            ImageRow(near.images, near.name, f"{near.note}\n{border}", near.kind),
        ]
    what = "the hidden units that are used most, first layer" if of_units else "one image a class"
    notes = [
        f"{chosen}: {what}",
        "colors: red positive, blue negative, white zero",
        "border: pixels near the edge; numbers: medians over seeds",
    ]
    return image_rows(rows, title=title, notes=notes)


def median_seed(values: Floats) -> int:
    """Row of the seed nearest to the median (the lower of two); the first if all are nan."""
    known = np.flatnonzero(np.isfinite(values))
    if len(known) == 0:
        return 0
    order = known[np.argsort(values[known], kind="stable")]
    return int(order[(len(order) - 1) // 2])


def _facts(point: GridPoint, row: int) -> str:
    """Lines beside the images: seed, accuracy, and correlation with the class means."""
    lines = [f"seed {point.seeds[row]}", f"test {_median(point, ACCURACY, 100):.2f} %"]
    if point.metric(CORRELATION) is not None:
        lines.append(f"like means: r = {_median(point, CORRELATION):.2f}")
    return "\n".join(lines)


def _median(point: GridPoint, metric: str, factor: float = 1.0) -> float:
    values = numbers_of(point, metric)
    known = values[np.isfinite(values)]
    return factor * float(np.median(known)) if len(known) else float("nan")
