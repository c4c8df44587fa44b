"""The words of one text as figures show them: safe to draw, cut to a length, some marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glassbox.plots.arrays import Floats, as_floats
from glassbox.plots.style import TEXT_COLOR

MAX_WORDS = 60  # of a text; more are not legible
MAX_WORD_WIDTH = 66.0  # typographic points, about fifteen letters of 7.5 pt
IMPORTANT, ORDINARY = "#E69F00", "#93A4AE"  # of bars and circles
IMPORTANT_TEXT = "#9A5800"  # the same hue, dark enough for text
ROUNDING = 1e-3  # a capacity may lie outside of [0, 1] by this much
SPACE, UNKNOWN = "\u2423", "\u25a1"  # drawn for white space, and for a missing glyph


class Words(NamedTuple):
    """The words that a figure shows."""

    texts: list[str]  # N, without missing glyphs, not shortened
    important: NDArray[np.bool_]  # (N,)
    note: str  # says which words are not shown; empty if all are

    def fit(self, size: float) -> list[str]:
        """The words at a font size, those that would be too wide cut."""
        pairs = zip(self.texts, self.important.tolist(), strict=True)
        return [fit_word(text, size, bold=bold) for text, bold in pairs]


def prepare_words(words: Sequence[str], important: ArrayLike | None) -> Words:
    """Check the words and marks of one text of T words, and keep the first `MAX_WORDS`.

    Args:
        words: T words, in the order of the text.
        important: (T,) bool; None marks none.

    Raises:
        ValueError: There is no word, or the marks are not T booleans.
    """
    if len(words) == 0:
        raise ValueError("words is empty: there is no word to draw.")
    marks = np.zeros(len(words), dtype=bool) if important is None else np.asarray(important)
    if marks.dtype != np.bool_ or marks.shape != (len(words),):
        raise ValueError(
            f"important is {marks.dtype} of shape {marks.shape}, expected booleans of shape "
            f"({len(words)},), one per word."
        )
    cut = len(words) > MAX_WORDS
    note = f"drawn: the first {MAX_WORDS} of {len(words)} words" if cut else ""
    return Words(
        [replace_missing_glyphs(str(word)) for word in words[:MAX_WORDS]], marks[:MAX_WORDS], note
    )


def as_capacity(values: ArrayLike, name: str, size: int) -> Floats:
    """Capacities of `size` words, each in 0 to 1 (up to rounding) or not finite."""
    array = as_floats(values, name, (size,), "(words,)")
    wrong = array[np.isfinite(array) & ((array < -ROUNDING) | (array > 1 + ROUNDING))]
    if len(wrong):
        raise ValueError(f"{name} is {wrong[0]:g} for a word, expected 0 to 1.")
    return array


def replace_missing_glyphs(text: str, space: str = SPACE) -> str:
    """Replace characters that the font lacks by a box, and white space by `space`.

    matplotlib warns whenever it draws a character without a glyph, and breaks lines at line feeds.
    """
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))
    shown = []
    for character in text:
        known = character.isprintable() and font.get_char_index(ord(character)) != 0
        shown.append(space if character.isspace() else character if known else UNKNOWN)
    return "".join(shown) or space


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Width of one line of text in typographic points, as it will be drawn."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


def fit_word(text: str, size: float, *, bold: bool = False, width: float = MAX_WORD_WIDTH) -> str:
    """The word, cut with an ellipsis where it would be wider than `width` typographic points."""
    if text_width(text, size, bold=bold) <= width:
        return text
    keep = min(len(text) - 1, int(width / (0.2 * size)))  # no letter is narrower than 0.2 em
    while keep > 1 and text_width(text[:keep] + "…", size, bold=bold) > width:
        keep -= 1
    return text[:keep] + "…"


def word_font(important: bool) -> dict[str, Any]:
    """Text properties of a word: bold and colored if it is important."""
    return {
        "color": IMPORTANT_TEXT if important else TEXT_COLOR,
        "weight": "bold" if important else "normal",
    }
