"""What one rank trains of an ensemble: some of its members, or of one member some examples."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lightning_modules.ensemble.ensemble import Ensemble


class EpochLengthGroup(NamedTuple):
    """Neighboring members that take equally many steps."""

    ensemble: Ensemble  # views of the whole's parameters
    members: slice  # which of the whole's members they are
    steps: int  # optimizer steps of an epoch


def epoch_length_groups(whole: Ensemble, steps: Sequence[int]) -> list[EpochLengthGroup]:
    """Divide an ensemble where its members' numbers of steps an epoch change.

    A member that trains on a tenth of the data takes a tenth of the steps. It must not be moved in
    the others' further ones, not even by AdamW's decay and momentum; in a group of its own it has
    no gradient there, and an optimizer leaves it alone and counts no step for it.

    Args:
        whole: All members. It is the one group itself where all take equally many steps.
        steps: Of each member, (S,). Members with equal numbers should be neighbors.
    """
    if len(set(steps)) == 1:
        return [EpochLengthGroup(whole, slice(0, len(steps)), steps[0])]
    groups, first = [], 0
    for number, members in groupby(steps):
        last = first + len(list(members))
        groups.append(EpochLengthGroup(whole.part(first, last), slice(first, last), number))
        first = last
    return groups


def parameters_of(groups: Sequence[EpochLengthGroup]) -> list[nn.Parameter]:
    """What an optimizer of all groups is given."""
    return [parameter for group in groups for parameter in group.ensemble.parameters()]


def member_range(num_members: int, rank: int, ranks: int) -> tuple[int, int]:
    """First member of a rank, and the first that is the next rank's; of one member all have it.

    Raises:
        ValueError: There are fewer members than ranks, and more than one.
    """
    if num_members == 1:
        return 0, 1
    if num_members < ranks:
        raise ValueError(
            f"{num_members} seeds cannot be spread over {ranks} devices; set trainer.devices times "
            f"trainer.num_nodes to at most {num_members}, or train one seed on all of them"
        )
    return num_members * rank // ranks, num_members * (rank + 1) // ranks


class EnsembleShard:
    """One rank's part of the work on an ensemble that every rank holds as a whole.

    Several members are spread over the ranks; each trains as it would alone, and gradients are
    never exchanged. One member is trained by all ranks on a part of every batch each, with
    averaged gradients. Dropout masks go by an example's place in its rank's part, so that with one
    member and dropout the ranks together are not the run of one device.

    Args:
        whole: All members, on the rank's device.
        rank: This rank.
        ranks: Number of ranks; torch.distributed is used if it is above 1.

    Attributes:
        ensemble: The members that this rank trains; their parameters share the whole's memory.
        first: Index of the first of them.
    """

    def __init__(self, whole: Ensemble, rank: int = 0, ranks: int = 1) -> None:
        self.whole, self.rank, self.ranks = whole, rank, ranks
        self.first, self.last = member_range(len(whole.seeds), rank, ranks)
        self.splits_examples = ranks > 1 and len(whole.seeds) == 1
        self.spreads_members = ranks > 1 and not self.splits_examples
        self.ensemble = whole.part(self.first, self.last) if self.spreads_members else whole

    def take(self, batch: dict[str, Tensor], dim: int) -> dict[str, Tensor]:
        """This rank's part of a batch in which ``dim`` counts members and the next one examples."""
        if self.splits_examples:
            chosen = (slice(None),) * (dim + 1) + (slice(self.rank, None, self.ranks),)
        else:
            chosen = (slice(None),) * dim + (slice(self.first, self.last),)
        return {name: tensor[chosen] for name, tensor in batch.items()}

    def average_gradients(self, losses: Tensor, targets: Tensor) -> Tensor:
        """Average gradients and loss over the examples of all ranks, where these are split.

        Args:
            losses: This rank's mean loss, (1,); of spread members, (S',), nothing is done.
            targets: This rank's targets; -100 does not count.

        Returns:
            The loss over all ranks.
        """
        if not self.splits_examples:
            return losses
        gradients = [p.grad for p in self.ensemble.parameters() if p.grad is not None]
        count = (targets != -100).sum().to(losses.dtype).reshape(1)
        flat = torch.cat([*(g.flatten() for g in gradients), losses]) * count
        flat = torch.cat([flat, count])
        dist.all_reduce(flat)
        flat = flat[:-1] / flat[-1].clamp_min(1)
        parts = flat.split([*(g.numel() for g in gradients), 1])
        for gradient, mean in zip(gradients, parts, strict=False):
            gradient.copy_(mean.view_as(gradient))
        return parts[-1]

    @torch.no_grad()
    def publish(self) -> None:
        """Bring the members that other ranks have trained into this rank's whole."""
        if not self.spreads_members:
            return
        mine = torch.cat([p.flatten(1) for p in self.ensemble.parameters()], dim=1)  # (S', P)
        everyone = self.gather(mine)  # (S, P)
        parameters = list(self.whole.parameters())
        parts = everyone.split([p[0].numel() for p in parameters], dim=1)
        for parameter, values in zip(parameters, parts, strict=True):
            parameter.copy_(values.view_as(parameter))

    def gather(self, rows: Tensor) -> Tensor:
        """Rows (S', ...) of this rank's members as those of all members, (S, ...)."""
        if not self.spreads_members:
            return rows
        ranges = [member_range(len(self.whole.seeds), r, self.ranks) for r in range(self.ranks)]
        most = max(last - first for first, last in ranges)
        padded = rows.new_zeros(most, *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in ranges]
        dist.all_gather(parts, padded)
        return torch.cat([part[: b - a] for part, (a, b) in zip(parts, ranges, strict=True)])

    def gather_optimizer_state(self, state: dict[str, Any]) -> dict[str, Any]:
        """An optimizer's state dict with the moments of all members instead of this rank's."""
        moments = {
            index: {
                name: self.gather(value) if _is_stacked(value) else value
                for name, value in entry.items()
            }
            for index, entry in state["state"].items()
        }
        return {**state, "state": moments}


def rank_optimizer_state(state: dict[str, Any], first: int, last: int) -> dict[str, Any]:
    """The part of ``gather_optimizer_state``'s result that belongs to members first to last - 1."""
    moments = {
        index: {
            name: value[first:last].clone() if _is_stacked(value) else value
            for name, value in entry.items()
        }
        for index, entry in state["state"].items()
    }
    return {**state, "state": moments}


def _is_stacked(value: Any) -> bool:
    """Whether an entry has one row a member; the number of steps is one number for all."""
    return isinstance(value, Tensor) and value.dim() > 0
