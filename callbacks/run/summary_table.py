"""The summary table of a run: quantiles over seeds, or a column per value of a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from glassbox.metrics.quantiles import censored_quantile

Metrics = Mapping[str, Sequence[Any]]

_MAX_COLUMNS = 12  # of a sweep; with more values a figure is easier to read


def summary_table(
    metrics: Metrics,
    names: Sequence[str],
    num_members: int,
    differing: Mapping[str, Sequence[Any]] | None = None,
) -> str:
    """One line per metric: median and quartiles over seeds, or a median per value of a sweep.

    Args:
        metrics: By name, a number, a word or None (missing) for each member, or one value in all.
        names: The metrics to show, in order.
        num_members: Members of the run; 0 for a module without seeds, whose values are shown.
        differing: Settings other than the seed in which members differ, a value for each. If there
            is one such setting with at most twelve values, each value has a column.
    """
    if num_members == 0:
        width = max((len(name) for name in names), default=0) + 2
        cells = {name: _cell(censored_quantile([*metrics[name]], 0.5), "none") for name in names}
        return "\n".join(["", *(f"{name:<{width}}{cell:>12}" for name, cell in cells.items())])
    if differing and len(differing) == 1:
        ((setting, values),) = differing.items()
        labels = [_label(value) for value in values]
        if len(labels) == num_members and len(set(labels)) <= _MAX_COLUMNS:
            swept = [
                name
                for name in names
                if len(metrics[name]) == num_members and not isinstance(metrics[name][0], str)
            ]
            others = [name for name in names if name not in swept]
            tables = [_per_value(metrics, swept, setting, labels)]
            if others:
                tables.append(_over_members(metrics, others, num_members, "member"))
            return "\n".join(tables)
    return _over_members(metrics, names, num_members, "member" if differing else "seed")


def _over_members(metrics: Metrics, names: Sequence[str], count: int, noun: str) -> str:
    """Median, quartiles and number of missing values; counts for metrics that are words."""
    heading = f"{count} {noun}" + ("s" if count != 1 else "")
    width = max(map(len, [heading, *names])) + 2
    lines = ["", f"{heading:<{width}}{'median':>12}{'25 %':>12}{'75 %':>12}   missing"]
    lines.append("─" * (width + 46))
    for name in names:
        values = metrics[name]
        if values and isinstance(values[0], str):
            counts = {value: values.count(value) for value in sorted(set(values))}
            most_common = sorted(counts.items(), key=lambda item: -item[1])[:3]
            text = ", ".join(f"{value} ({count})" for value, count in most_common)
            lines.append(f"{name:<{width}}  {text}")
            continue
        quantiles = (censored_quantile([*values], q) for q in (0.5, 0.25, 0.75))
        cells = "".join(f"{_cell(value, _missing(name)):>12}" for value in quantiles)
        num_missing = sum(value is None for value in values)
        lines.append(f"{name:<{width}}{cells}   {num_missing or ''}".rstrip())
    return "\n".join(lines)


def _per_value(metrics: Metrics, names: Sequence[str], setting: str, labels: Sequence[str]) -> str:
    """Medians, with a column for each value of the setting."""
    members = {label: [i for i, other in enumerate(labels) if other == label] for label in labels}
    sizes = sorted({len(indices) for indices in members.values()})
    seeds = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    heading = f"by {setting}, 1 seed" if sizes == [1] else f"by {setting}, medians of {seeds} seeds"
    width = max(map(len, [heading, *names])) + 2
    column = max(9, *(len(label) + 2 for label in members))
    lines = ["", f"{heading:<{width}}" + "".join(f"{label:>{column}}" for label in members)]
    lines.append("─" * len(lines[-1]))
    for name in names:
        medians = (
            censored_quantile([metrics[name][i] for i in indices], 0.5)
            for indices in members.values()
        )
        cells = (f"{_cell(median, _missing(name), digits=3):>{column}}" for median in medians)
        lines.append(f"{name:<{width}}" + "".join(cells))
    return "\n".join(lines)


def _label(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if is_number else str(value)


def _missing(name: str) -> str:
    return "never" if name.endswith("_epoch") else "none"


def _cell(value: float, missing: str, digits: int = 4) -> str:
    if math.isinf(value):
        return missing
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"
