"""What stands above each panel of a figure, in as many lines as its width makes of it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from glassbox.plots.style import LABEL_SIZE, POINTS_PER_INCH
from glassbox.plots.word_labels import text_width


@dataclass(frozen=True)
class Captions:
    """What stands above panels, wrapped to their width.

    Attributes:
        texts: With line feeds.
        height: Inches that the highest of them takes.
    """

    texts: list[str]
    height: float

    @property
    def style(self) -> dict[str, Any]:
        """Options of `Axes.set_title`."""
        return {
            "size": LABEL_SIZE,
            "pad": 5,
            "va": "bottom",
            "linespacing": 1.15,
            "parse_math": False,
        }


def panel_captions(texts: Sequence[str], width: float) -> Captions:
    """Captions of panels with `width` inches for each."""
    wrapped = [_balanced(text, width) for text in texts]
    most = max(len(lines) for lines in wrapped)
    return Captions(["\n".join(lines) for lines in wrapped], 0.1 + 0.14 * most)


def _balanced(text: str, width: float) -> list[str]:
    """As few lines as fit into the width, about equally long: no word stands alone below."""

    def fits(lines: list[str]) -> bool:
        return all(text_width(line, LABEL_SIZE) <= width * POINTS_PER_INCH for line in lines)

    # Words stay whole, so that one that is too wide leaves no choice.
    tried = [textwrap.wrap(text, n, break_long_words=False) for n in range(1, len(text) + 1)]
    fitting = [lines for lines in tried if fits(lines)] or tried[:1] or [[text]]
    return min(fitting, key=len)  # the first of them is the narrowest
