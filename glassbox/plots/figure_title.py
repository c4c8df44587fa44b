"""The lines above a figure: its title, and notes on how it was drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from glassbox.plots.style import MUTED_COLOR, NOTE_SIZE, TITLE_SIZE, wrap_title
from glassbox.plots.word_labels import replace_missing_glyphs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGIN, TITLE_LINE, NOTE_LINE = 0.12, 0.19, 0.14  # inches


class FigureTitle(NamedTuple):
    """Lines of a title and of notes, fitted to a width."""

    title: list[str]
    notes: list[str]

    @property
    def height(self) -> float:
        """Inches from the figure's upper edge to below the last line."""
        gap = 0.04 if self.title and self.notes else 0.0
        return MARGIN + TITLE_LINE * len(self.title) + gap + NOTE_LINE * len(self.notes)

    def draw(self, figure: Figure, left: float) -> None:
        """Write the lines, `left` inches from the figure's edge, with dollars as they are."""
        width, height = figure.get_size_inches()
        y = MARGIN
        for line in self.title:
            figure.text(
                left / width, 1 - y / height, line, size=TITLE_SIZE, va="top", parse_math=False
            )
            y += TITLE_LINE
        y += 0.04 if self.title else 0.0
        for line in self.notes:
            figure.text(
                left / width,
                1 - y / height,
                line,
                size=NOTE_SIZE,
                color=MUTED_COLOR,
                va="top",
                parse_math=False,
            )
            y += NOTE_LINE


def layout_title(title: str, notes: list[str], width: float) -> FigureTitle:
    """The heading of a figure with `width` inches for text; notes are joined, empty ones left out.

    Args:
        title: Of the figure, wrapped; may be empty.
        notes: Sentences without a full stop.
        width: Inches.
    """
    text = " · ".join(note for note in notes if note)
    return FigureTitle(
        wrap_title(replace_missing_glyphs(title, " "), width), wrap_title(text, width, NOTE_SIZE)
    )
