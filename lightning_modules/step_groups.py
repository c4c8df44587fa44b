"""Members of one run that take different numbers of optimizer steps an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from torch import nn

from lightning_modules.ensemble import Ensemble


class StepGroup(NamedTuple):
    """Neighbouring members that take equally many steps."""

    ensemble: Ensemble  # views of the whole's parameters
    members: slice  # which of the whole's members they are
    steps: int  # optimizer steps of an epoch


def step_groups(whole: Ensemble, steps: Sequence[int]) -> list[StepGroup]:
    """Divide an ensemble where its members' numbers of steps an epoch change.

    A member that trains on a tenth of the data takes a tenth of the steps. It must not be moved in
    the others' further ones, not even by AdamW's decay and momentum; in a group of its own it has
    no gradient there, and an optimizer leaves it alone and counts no step for it.

    Args:
        whole: All members. It is the one group itself where all take equally many steps.
        steps: Of each member, (S,). Members with equal numbers should be neighbours.
    """
    if len(set(steps)) == 1:
        return [StepGroup(whole, slice(0, len(steps)), steps[0])]
    groups, first = [], 0
    for number, members in groupby(steps):
        last = first + len(list(members))
        groups.append(StepGroup(whole.part(first, last), slice(first, last), number))
        first = last
    return groups


def parameters_of(groups: Sequence[StepGroup]) -> list[nn.Parameter]:
    """What an optimizer of all groups is given."""
    return [parameter for group in groups for parameter in group.ensemble.parameters()]
