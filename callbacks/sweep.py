"""The settings in which the members of one run differ beside their seeds, and groups of members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L


def differing_settings(trainer: L.Trainer, module: L.LightningModule) -> dict[str, list[Any]]:
    """Settings in which the S members of a run differ, with one value per member.

    Read from the data module's ``member_settings`` and the module's ``head_settings``, a dict per
    member each; either may be missing.

    Returns:
        By name, such as ``train_fraction``, S values; empty if all members have the same.
    """
    datamodule = getattr(trainer, "datamodule", None)
    sources = [getattr(datamodule, "member_settings", []), getattr(module, "head_settings", [])]
    seeds = getattr(module, "seeds", [])
    columns = {
        name: [settings[name] for settings in members]
        for members in sources
        if len(members) == len(seeds) > 0
        for name in members[0]
    }
    return {
        name: column
        for name, column in columns.items()
        if any(value != column[0] for value in column)
    }


def members_by_value(settings: Mapping[str, list[Any]]) -> dict[str, list[int]]:
    """Group members by their values in a sweep.

    Args:
        settings: As from ``differing_settings``.

    Returns:
        Indices of members by a label such as ``sparsity=0.9``, with " (2)" and so on where
        different values share a label.
    """
    if not settings:
        return {}
    members: dict[tuple[str, ...], list[int]] = {}
    for member, row in enumerate(zip(*settings.values(), strict=True)):
        members.setdefault(tuple(map(str, row)), []).append(member)
    groups: dict[str, list[int]] = {}
    for same in members.values():
        pairs = ((name, values[same[0]]) for name, values in settings.items())
        label = ",".join(f"{name}={_short(value)}" for name, value in pairs)
        taken = sum(known == label or known.startswith(f"{label} (") for known in groups)
        groups[f"{label} ({taken + 1})" if taken else label] = same
    return groups


def _short(value: Any) -> str:
    """A number in few digits; the first and the last of a value with an entry per feature."""
    if isinstance(value, tuple | list):
        return f"{value[0]:g}..{value[-1]:g}"
    return f"{value:g}" if isinstance(value, int | float) else str(value)
