"""What tells the members of one run apart beside their seeds."""

from __future__ import annotations

from typing import Any

import lightning as L


def differing_settings(trainer: L.Trainer, module: Any) -> dict[str, list[Any]]:
    """Settings in which the S members of a run differ, with one value a member.

    Of the data's ``member_settings`` and the module's ``head_settings``, a dict for each member;
    either may be missing.

    Args:
        trainer: Whose data module it is.
        module: The module that is trained or measured.

    Returns:
        By name, such as ``train_fraction``, (S,) values; nothing where all members have the same.
    """
    datamodule = getattr(trainer, "datamodule", None)
    of_members = [getattr(datamodule, "member_settings", []), getattr(module, "head_settings", [])]
    seeds = getattr(module, "seeds", [])
    columns = {
        name: [settings[name] for settings in members]
        for members in of_members
        if len(members) == len(seeds) > 0
        for name in members[0]
    }
    return {
        name: column
        for name, column in columns.items()
        if any(value != column[0] for value in column)
    }
