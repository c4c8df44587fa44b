"""The weights of a layer on the pixels, as images beside the mean image of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from glassbox.plots.arrays import Floats
from glassbox.plots.colors import MISSING
from glassbox.plots.figure_title import LEFT, layout_title
from glassbox.plots.style import (
    LABEL_SIZE,
    LINE,
    MUTED_COLOR,
    NOTE_SIZE,
    Style,
    house_style,
    new_figure,
)
from glassbox.plots.word_labels import replace_missing_glyphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure


ColorKind = Literal["gray", "diverging", "near zero"]

NEAR_ZERO = 0.01  # the paper's Figure 5 paints weights below this yellow
NEAR, FAR = "#F2C230", "#43306B"  # yellow and violet, as there
LABEL, SIDE, GAP, BAR = 1.2, 0.78, 0.05, 0.62  # inches, from left to right
CAPTION, ROW_GAP, BLOCK_GAP = 0.17, 0.07, 0.16  # inches
# Colors end at this quantile of |w|, so that a few strong pixels do not leave the others pale.
QUANTILE = 0.995


@dataclass(frozen=True)
class ImageRow:
    """One row of images on one color scale.

    Attributes:
        images: (N, rows, columns).
        name: Written on the left.
        note: Further lines below the name.
        kind: 'gray' runs from the smallest value, white, to the largest; 'diverging' is white at 0
            and symmetric; 'near zero' has two colors, for |w| < 0.01 and for the rest.
        captions: N texts above the images, or none.
    """

    images: Floats
    name: str
    note: str = ""
    kind: ColorKind = "diverging"
    captions: Sequence[str] = ()


def weight_images(
    weights: ArrayLike,
    image_shape: tuple[int, int],
    *,
    means: ArrayLike | None = None,
    captions: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """Draw each weight as an image, between the class means and a map of the weights near zero.

    After Figure 5 of the harmonic-loss paper, which shows w < 0.01 in yellow; here |w| < 0.01 is
    yellow, and the weights themselves are drawn too. Their colors are symmetric, white at zero, and
    end at the 99.5 % quantile of |w|.

    Args:
        weights: (N, P), one row of pixels for each of N classes or hidden units.
        image_shape: Rows and columns of an image, of which P is the product.
        means: (C, P), mean image of each class; a class without one (nan) is gray.
        captions: N texts above the weights, such as "unit 37"; None for none.
        title: Figure title.

    Raises:
        ValueError: Shapes do not fit.
    """
    images = as_images(weights, image_shape, "weights")
    rows = [] if means is None else [class_means_row(means, image_shape)]
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"captions has {len(captions)} entries, expected {len(images)}.")
    rows += weight_rows(images, "weights", captions or ())
    return image_rows(rows, title=title)


def class_means_row(means: ArrayLike, image_shape: tuple[int, int]) -> ImageRow:
    """The row of the classes' mean images (C, P), with their numbers above them.

    Raises:
        ValueError: The shape does not fit.
    """
    images = as_images(means, image_shape, "means")
    numbers = [str(index) for index in range(len(images))]
    return ImageRow(images, "class means", "training images", "gray", numbers)


def weight_rows(images: Floats, name: str, captions: Sequence[str] = ()) -> list[ImageRow]:
    """Two rows for weights (N, rows, columns): their values, and which of them are near zero."""
    return [
        ImageRow(images, name, "red: positive\nblue: negative", "diverging", captions),
        ImageRow(images, "near zero", f"yellow: |w| < {NEAR_ZERO:g}", "near zero"),
    ]


def as_images(values: ArrayLike, shape: tuple[int, int], name: str) -> Floats:
    """Rows of pixels (N, P) as images (N, rows, columns).

    Raises:
        ValueError: There is no image, or one does not have rows · columns pixels.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or len(array) == 0 or array.shape[1] != shape[0] * shape[1]:
        raise ValueError(
            f"{name} has shape {array.shape}, expected (images, pixels) = (any, "
            f"{shape[0] * shape[1]}) for images of {shape[0]} × {shape[1]}."
        )
    return array.reshape(-1, *shape)


def image_rows(rows: Sequence[ImageRow], *, title: str = "", notes: Sequence[str] = ()) -> Figure:
    """Draw rows of images below one another, each with its own color scale.

    Args:
        rows: From the top; all images have the same size. Rows may differ in length.
        title: Figure title.
        notes: Sentences below it, without a full stop.
    """
    from matplotlib import rc_context

    columns = max(len(row.images) for row in rows)
    height_of_image = SIDE * rows[0].images.shape[1] / rows[0].images.shape[2]
    width = LEFT + LABEL + columns * (SIDE + GAP) + BAR + LEFT
    heading = layout_title(title, list(notes), width - 2 * LEFT)
    tops, y = [], heading.height
    for index, row in enumerate(rows):
        new_block = index > 0 and (row.captions or rows[index - 1].kind == "near zero")
        y += BLOCK_GAP if new_block else ROW_GAP
        y += CAPTION if row.captions else 0.0
        tops.append(y)
        y += height_of_image
    height = y + LEFT
    with rc_context(house_style(box=True)):
        figure = new_figure(width, height)
        heading.draw(figure)
        for row, top in zip(rows, tops, strict=True):
            bottom = (height - top - height_of_image) / height
            size = (SIDE / width, height_of_image / height)
            _draw_name(figure, row, 1 - (top + height_of_image / 2) / height)
            for place, image in enumerate(row.images):
                left = (LEFT + LABEL + place * (SIDE + GAP)) / width
                axes = figure.add_axes((left, bottom, *size))
                drawn = _draw_image(axes, image, row)
                if row.captions:
                    axes.set_title(row.captions[place], size=NOTE_SIZE, loc="center", pad=2.5)
            if row.kind != "near zero":
                left = (LEFT + LABEL + columns * (SIDE + GAP) + 0.04) / width
                axes = figure.add_axes((left, bottom, 0.08 / width, size[1]))
                _draw_scale(figure, axes, drawn, row.kind)
    return figure


def _draw_name(figure: Figure, row: ImageRow, middle: float) -> None:
    width, height = figure.get_size_inches()
    lines = row.note.split("\n") if row.note else []
    step = 0.135 / height
    y = middle + step * len(lines) / 2
    styles: list[Style] = [{"size": LABEL_SIZE, "weight": "bold"}]
    styles += [{"size": NOTE_SIZE, "color": MUTED_COLOR}] * len(lines)
    for line, style in zip([row.name, *lines], styles, strict=True):
        text = replace_missing_glyphs(line, " ")
        figure.text(LEFT / width, y, text, va="center", parse_math=False, **style)
        y -= step


def _draw_image(axes: Axes, image: Floats, row: ImageRow) -> ScalarMappable:
    from matplotlib import colormaps
    from matplotlib.colors import Colormap, ListedColormap, Normalize

    known = np.isfinite(image)
    shown, norm = image, Normalize(0.0, 1.0)
    colors: Colormap = ListedColormap([NEAR, FAR])
    if row.kind == "near zero":
        shown = (np.abs(image) >= NEAR_ZERO).astype(np.float64)
    elif row.kind == "gray":
        colors, norm = colormaps["Grays"], Normalize(*_range(row.images))
    else:
        reach = reach_of(row.images)
        colors, norm = colormaps["RdBu_r"], Normalize(-reach, reach)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color=LINE)
    return axes.imshow(
        np.ma.masked_array(shown, mask=~known),
        cmap=colors.with_extremes(bad=MISSING),
        norm=norm,
        aspect="auto",
        interpolation="nearest",
    )


def reach_of(images: Floats) -> float:
    """The absolute value at which the colors of a diverging row end; 1 if all are zero."""
    values = np.abs(images[np.isfinite(images)])
    if not values.any():
        return 1.0
    return float(np.quantile(values, QUANTILE)) or float(values.max())


def _range(images: Floats) -> tuple[float, float]:
    values = images[np.isfinite(images)]
    if len(values) == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return low, high if high > low else low + 1.0


def _draw_scale(figure: Figure, axes: Axes, drawn: ScalarMappable, kind: ColorKind) -> None:
    bar = figure.colorbar(drawn, cax=axes)
    bar.outline.set_visible(False)
    low, high = drawn.get_clim()
    assert low is not None and high is not None  # the norms of _draw_image have limits
    if kind == "diverging":
        labels = [f"≤ −{high:.2g}", "0", f"≥ {high:.2g}"]
        bar.set_ticks([low, 0.0, high], labels=labels)
    else:
        bar.set_ticks([low, high], labels=[f"{low:.2g}", f"{high:.2g}"])
    # Texts at both ends stay inside the row, so that rows can be close.
    texts = axes.get_yticklabels()
    texts[0].set_verticalalignment("bottom")
    texts[-1].set_verticalalignment("top")
    axes.tick_params(labelsize=NOTE_SIZE - 0.5, length=2, pad=1.5)
