"""Numbers as text in reports: epochs as 1,032, fractions as 0.455, a missing epoch as never."""

from __future__ import annotations

import math

from glassbox.reproduction.seed_statistics import Statistic


def number_text(value: float, epochs: bool = False) -> str:
    """Two or three decimals; whole numbers for epochs and from 100 on."""
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


def statistic_text(statistic: Statistic | None, epochs: bool, expected_seeds: int) -> str:
    """A cell: 0.91 [0.9, 0.92], or 14 of 20, with the number of seeds if it is not the expected."""
    if statistic is None:
        return "–"
    num_seeds, missing = statistic.num_seeds, statistic.num_missing
    if statistic.is_count:
        return f"{statistic.value:.0f} of {num_seeds}"
    text = number_text(statistic.value, epochs)
    if num_seeds > 1:
        text += f" [{number_text(statistic.low, epochs)}, {number_text(statistic.high, epochs)}]"
    if missing:
        text += f", {missing} of {num_seeds} {'never' if epochs else 'without'}"
    elif num_seeds != expected_seeds:
        text += f" ({num_seeds} seed{'s' if num_seeds != 1 else ''})"
    return text


def duration_text(seconds: float) -> str:
    """Seconds, or hours and minutes."""
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes // 60} h {minutes % 60} min"
