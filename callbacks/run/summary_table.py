"""The table that closes a run: medians over seeds, and of a sweep those of every value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from glassbox.metrics.quantiles import censored_quantile

Metrics = Mapping[str, Sequence[Any]]

# Columns of a sweep; with more values than this one reads a figure, not a table.
_MOST_VALUES = 12


def summary_table(
    metrics: Metrics,
    names: Sequence[str],
    num_members: int,
    differing: Mapping[str, Sequence[Any]] | None = None,
) -> str:
    """One line a metric: median and quartiles over seeds, or of a sweep a median for every value.

    Args:
        metrics: By name, a number (None: never, or none) or a word for each member, or one alone.
        names: Those to show, in order.
        num_members: Members of the run; 0 for a module without seeds, whose value is shown.
        differing: Settings in which members differ beside their seed, a value for each. With one
            such setting of at most twelve values the table has a column for every value.
    """
    if num_members == 0:
        width = max((len(name) for name in names), default=0) + 2
        ends = {name: _cell(censored_quantile([*metrics[name]], 0.5), "none") for name in names}
        return "\n".join(["", *(f"{name:<{width}}{end:>12}" for name, end in ends.items())])
    if differing and len(differing) == 1:
        ((setting, values),) = differing.items()
        labels = [_label(value) for value in values]
        if len(labels) == num_members and len(set(labels)) <= _MOST_VALUES:
            swept = [name for name in names if _is_swept(metrics[name], num_members)]
            others = [name for name in names if name not in swept]
            whole = _over_seeds(metrics, others, num_members, "member") if others else ""
            return "\n".join(filter(None, [_over_values(metrics, swept, setting, labels), whole]))
    return _over_seeds(metrics, names, num_members, "member" if differing else "seed")


def _over_seeds(metrics: Metrics, names: Sequence[str], count: int, noun: str) -> str:
    """Median and quartiles; counts for metrics that are words."""
    heading = f"{count} {noun}" + ("s" if count != 1 else "")
    width = max(map(len, [heading, *names])) + 2
    lines = ["", f"{heading:<{width}}{'median':>12}{'25 %':>12}{'75 %':>12}   without"]
    lines.append("─" * (width + 46))
    for name in names:
        values = metrics[name]
        if values and isinstance(values[0], str):
            counts = {value: values.count(value) for value in sorted(set(values))}
            common = sorted(counts.items(), key=lambda item: -item[1])[:3]
            text = ", ".join(f"{value} ({count})" for value, count in common)
            lines.append(f"{name:<{width}}  {text}")
            continue
        quartiles = (censored_quantile([*values], q) for q in (0.5, 0.25, 0.75))
        numbers = "".join(f"{_cell(quartile, _without(name)):>12}" for quartile in quartiles)
        missing = sum(value is None for value in values)
        lines.append(f"{name:<{width}}{numbers}   {missing or ''}".rstrip())
    return "\n".join(lines)


def _over_values(
    metrics: Metrics, names: Sequence[str], setting: str, labels: Sequence[str]
) -> str:
    """Medians, a column for every value of the setting."""
    members = {label: [i for i, of in enumerate(labels) if of == label] for label in labels}
    sizes = sorted({len(of_value) for of_value in members.values()})
    seeds = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    heading = f"by {setting}, 1 seed" if sizes == [1] else f"by {setting}, medians of {seeds} seeds"
    width = max(map(len, [heading, *names])) + 2
    column = max(9, *(len(label) + 2 for label in members))
    lines = ["", f"{heading:<{width}}" + "".join(f"{label:>{column}}" for label in members)]
    lines.append("─" * len(lines[-1]))
    for name in names:
        medians = (
            censored_quantile([metrics[name][i] for i in of_value], 0.5)
            for of_value in members.values()
        )
        cells = (f"{_cell(median, _without(name), digits=3):>{column}}" for median in medians)
        lines.append(f"{name:<{width}}" + "".join(cells))
    return "\n".join(lines)


def _is_swept(values: Sequence[Any], num_members: int) -> bool:
    return len(values) == num_members and not any(isinstance(value, str) for value in values)


def _label(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if number else str(value)


def _without(name: str) -> str:
    return "never" if name.endswith("_epoch") else "none"


def _cell(value: float, without: str, digits: int = 4) -> str:
    if math.isinf(value):
        return without
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"
