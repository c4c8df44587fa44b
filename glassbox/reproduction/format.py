"""How a report writes numbers: epochs as 1,032, shares as 0.455, what never happened as never."""

from __future__ import annotations

import math

from glassbox.reproduction.seed_statistics import Statistic


def number_text(value: float, epochs: bool = False) -> str:
    """Two or three digits after the point; whole numbers for epochs and above 100.

    Args:
        value: ``inf`` means that there is none.
        epochs: Whether it counts epochs, so that ``inf`` is "never" and otherwise "none".
    """
    if math.isinf(value):
        return "never" if epochs else "none"
    if epochs or abs(value) >= 100:
        text = f"{value:,.0f}"
    elif abs(value) >= 10:
        text = f"{value:.1f}"
    elif 0 < abs(value) < 0.01:
        text = f"{value:.2g}"
    else:
        text = f"{value:.3f}".removesuffix("0")
    return text.replace("-", "−") if text.strip("-0.,") else text.removeprefix("-")


def difference_text(value: float, epochs: bool = False) -> str:
    """A difference with its sign."""
    return f"{'' if value < 0 else '+'}{number_text(value, epochs)}"


def statistic_text(found: Statistic | None, epochs: bool, expected_seeds: int) -> str:
    """A cell: 0.91 [0.9, 0.92], or 14 of 20; seeds that are fewer than expected are told.

    Args:
        found: None where nothing was run.
        epochs: Whether it counts epochs.
        expected_seeds: Of the study.
    """
    if found is None:
        return "–"
    if found.is_count:
        return f"{found.value:.0f} of {found.num_seeds}"
    text = number_text(found.value, epochs)
    if found.num_seeds > 1:
        low, high = number_text(found.low, epochs), number_text(found.high, epochs)
        text += f" [{low}, {high}]"
    word = "never" if epochs else "without"
    if found.num_missing:
        text += f", {found.num_missing} of {found.num_seeds} {word}"
    elif found.num_seeds != expected_seeds:
        text += f" ({found.num_seeds} seed{'s' if found.num_seeds != 1 else ''})"
    return text


def duration_text(seconds: float) -> str:
    """Seconds, or hours and minutes."""
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes // 60} h {minutes % 60} min"
