"""The lines above a figure: its title, notes on how it was drawn, and a legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from glassbox.plots.style import MUTED_COLOR, NOTE_SIZE, TITLE_SIZE, Style, new_figure, wrap_title
from glassbox.plots.word_labels import replace_missing_glyphs

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

MARGIN, TITLE_LINE, NOTE_LINE, LEGEND_LINE = 0.12, 0.19, 0.14, 0.24  # inches
GAP = 0.04  # inches between title and notes
LEFT = 0.15  # inches from the figure's left edge


class FigureTitle(NamedTuple):
    """Lines of a title and of notes, wrapped to a width."""

    title: list[str]
    notes: list[str]

    @property
    def height(self) -> float:
        """Inches from the figure's upper edge to below the last line."""
        gap = GAP if self.title and self.notes else 0.0
        return MARGIN + TITLE_LINE * len(self.title) + gap + NOTE_LINE * len(self.notes)

    def draw(self, figure: Figure, left: float = LEFT) -> None:
        """Write the lines, `left` inches from the figure's edge."""
        width, height = figure.get_size_inches()
        y = MARGIN
        for line in self.title:
            figure.text(
                left / width, 1 - y / height, line, size=TITLE_SIZE, va="top", parse_math=False
            )
            y += TITLE_LINE
        y += GAP if self.title else 0.0
        style: Style = {"size": NOTE_SIZE, "color": MUTED_COLOR}
        for line in self.notes:
            figure.text(left / width, 1 - y / height, line, va="top", parse_math=False, **style)
            y += NOTE_LINE

    def draw_legend(self, figure: Figure, handles: Sequence[Artist]) -> None:
        """Draw a legend of one line below the notes; it takes `LEGEND_LINE` inches."""
        width, height = figure.get_size_inches()
        figure.legend(
            handles=list(handles),
            loc="upper left",
            bbox_to_anchor=(LEFT / width, 1 - (self.height + GAP) / height),
            ncols=len(handles),
            fontsize=NOTE_SIZE,
            columnspacing=1.4,
            borderaxespad=0.0,
            borderpad=0.0,
        ).set_in_layout(False)


def layout_title(title: str, notes: Sequence[str], width: float) -> FigureTitle:
    """Wrap a title and notes to a width.

    Args:
        title: Figure title; may be empty.
        notes: Sentences without a full stop; they are joined, and empty ones left out.
        width: Inches of text.
    """
    text = " · ".join(note for note in notes if note)
    return FigureTitle(
        wrap_title(replace_missing_glyphs(title, " "), width) if title else [],
        wrap_title(text, width, NOTE_SIZE),
    )


def titled_figure(
    width: float,
    height: float,
    title: str,
    notes: Sequence[str] = (),
    *,
    legend: Sequence[Artist] = (),
    foot: float = 0.0,
    gap: float = 0.06,
) -> Figure:
    """A figure with a title, whose axes matplotlib lays out below it.

    Args:
        width: Inches.
        height: Inches of the axes with their labels.
        title: Figure title; may be empty.
        notes: As in `layout_title`.
        legend: Handles of a legend below the title; none by default.
        foot: Inches to leave empty below the axes.
        gap: Inches to leave empty at the left and right of each axes.
    """
    lines = layout_title(title, notes, width - 2 * LEFT)
    total = lines.height + GAP + (LEGEND_LINE if legend else 0.0) + height + foot
    figure = new_figure(width, total)
    rect = (0, foot / total, 1, height / total)
    figure.set_layout_engine("constrained", rect=rect, w_pad=gap, h_pad=0.05, wspace=0)
    lines.draw(figure)
    if legend:
        lines.draw_legend(figure, legend)
    return figure
