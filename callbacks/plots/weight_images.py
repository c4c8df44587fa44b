"""The weights of a layer on the pixels, as images beside the mean image of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from callbacks.plots.arrays import Floats
from callbacks.plots.image_rows import LIMIT, ImageRow, as_images, image_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def weight_images(
    weights: ArrayLike,
    image_shape: tuple[int, int],
    *,
    means: ArrayLike | None = None,
    name: str = "weights",
    captions: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """Draw each weight as an image, above it the class means, below it which weights are zero.

    After Figure 5 of the harmonic-loss paper, which shows w < 0.01 in yellow; here the weights
    themselves are there too, and a large negative one is not taken for a small one. The colours of
    the weights are white at zero and symmetric; they go to the 99.5 % quantile of |w|.

    Args:
        weights: (N, P), rows of pixels: of N classes, or of N hidden units.
        image_shape: Rows and columns of an image, of which P is the product.
        means: (C, P), the classes' mean images; a class without one (nan) is grey.
        name: What the weights are.
        captions: N texts above the weights, such as "unit 37"; None for none.
        title: Of the figure.

    Raises:
        ValueError: Shapes do not fit.
    """
    images = as_images(weights, image_shape, "weights")
    rows = [] if means is None else [class_means_row(means, image_shape)]
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"captions has {len(captions)} entries, expected {len(images)}.")
    rows += weight_rows(images, name, captions or ())
    return image_rows(rows, title=title)


def class_means_row(means: ArrayLike, image_shape: tuple[int, int]) -> ImageRow:
    """The row of the classes' mean images (C, P), with their numbers above them.

    Raises:
        ValueError: The shape does not fit.
    """
    images = as_images(means, image_shape, "means")
    numbers = [str(index) for index in range(len(images))]
    return ImageRow(images, "class means", "training images", "grey", numbers)


def weight_rows(images: Floats, name: str, captions: Sequence[str] = ()) -> list[ImageRow]:
    """Two rows for weights (N, rows, columns): as they are, and which of them are zero."""
    return [
        ImageRow(images, name, "red: positive\nblue: negative", "diverging", captions),
        ImageRow(images, "near zero", f"yellow: |w| < {LIMIT:g}", "near zero"),
    ]
