"""Interfaces between packages that do not import each other, as protocols for type checkers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

# ---- What LightningModules ask of data modules ---------------------------------------------------


@runtime_checkable
class StepData(Protocol):
    """A data module with a known number of optimizer steps per epoch."""

    @property
    def steps_per_epoch(self) -> int: ...


@runtime_checkable
class MemberStepData(Protocol):
    """A data module whose members may take different numbers of optimizer steps an epoch."""

    @property
    def steps_per_member(self) -> Sequence[int]: ...


@runtime_checkable
class MemberData(Protocol):
    """A data module whose members may differ in more than their seed."""

    @property
    def member_settings(self) -> Sequence[Mapping[str, Any]]:
        """One mapping per member, from setting to value; empty if only seeds differ."""
        ...


@runtime_checkable
class PaddedTexts(Protocol):
    """A data module of labelled texts, padded to the length of the batch or to a fixed length."""

    pad_to: str  # 'batch' or 'max_length'

    @property
    def repeats(self) -> Mapping[str, int]:
        """Number of texts that occur more than once where they should not, by name."""
        ...
