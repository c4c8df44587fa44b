"""Views of an ensemble: what one rank trains, and members that take equally many steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lightning_modules.ensemble.ensemble import Ensemble


def member_range(num_members: int, rank: int, ranks: int) -> tuple[int, int]:
    """First member of a rank, and first member after it; a single member belongs to all ranks."""
    if num_members == 1:
        return 0, 1
    if num_members < ranks:
        raise ValueError(
            f"{num_members} seeds are too few for {ranks} devices; set trainer.devices times "
            f"trainer.num_nodes to at most {num_members}, or train one seed on all of them"
        )
    return num_members * rank // ranks, num_members * (rank + 1) // ranks


class EnsembleShard:
    """One rank's part of the work on an ensemble that every rank holds as a whole.

    Several members are distributed over the ranks; each trains as it would alone, and gradients are
    not exchanged. A single member is trained by all ranks, each on a part of every batch, with
    averaged gradients. Dropout masks depend on an example's position in its rank's part, so a
    single member with dropout trains differently on several ranks than on one.

    Attributes:
        ensemble: The members that this rank trains; their parameters share the whole's memory.
        first: Index of the first of them.
        last: Index of the first member after them.
    """

    def __init__(self, whole: Ensemble[Any], rank: int = 0, ranks: int = 1) -> None:
        self.whole, self.rank, self.ranks = whole, rank, ranks
        self.first, self.last = member_range(len(whole.seeds), rank, ranks)
        self.splits_examples = ranks > 1 and len(whole.seeds) == 1
        self.splits_members = ranks > 1 and not self.splits_examples
        self.ensemble = whole.slice(self.first, self.last) if self.splits_members else whole

    def shard_batch(self, batch: Mapping[str, Any], dim: int) -> dict[str, Any]:
        """This rank's part of a batch, where ``dim`` counts members and the next one examples."""
        if self.splits_examples:
            index = (slice(None),) * (dim + 1) + (slice(self.rank, None, self.ranks),)
        else:
            index = (slice(None),) * dim + (slice(self.first, self.last),)
        return {name: tensor[index] for name, tensor in batch.items()}

    def average_gradients(self, losses: Tensor, targets: Tensor) -> Tensor:
        """Average gradients and loss (1,) over the examples of all ranks, if these are split."""
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
    def all_gather_parameters(self) -> None:
        """All-gather parameters and buffers, so that every rank holds all trained members."""
        if not self.splits_members:
            return
        own, whole = (
            [*ensemble.stacked.parameters(), *ensemble.stacked.buffers()]
            for ensemble in (self.ensemble, self.whole)
        )
        for dtype in dict.fromkeys(tensor.dtype for tensor in whole):  # one exchange per type
            rows = [t.reshape(len(t), -1) for t in own if t.dtype == dtype]
            gathered = self.all_gather(torch.cat(rows, dim=1))  # (S, P)
            targets = [t for t in whole if t.dtype == dtype]
            parts = gathered.split([t[0].numel() for t in targets], dim=1)
            for target, values in zip(targets, parts, strict=True):
                target.copy_(values.view_as(target))

    def all_gather(self, rows: Tensor) -> Tensor:
        """The rows of all members, (S, ...), from this rank's (S', ...)."""
        if not self.splits_members:
            return rows
        ranges = [member_range(len(self.whole.seeds), r, self.ranks) for r in range(self.ranks)]
        longest = max(last - first for first, last in ranges)
        padded = rows.new_zeros(longest, *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in ranges]
        dist.all_gather(parts, padded)
        return torch.cat([part[: b - a] for part, (a, b) in zip(parts, ranges, strict=True)])

    def gather_optimizer_state(self, state: dict[str, Any]) -> dict[str, Any]:
        """An optimizer's state dict with the moments of all members instead of this rank's."""
        return _map_moments(self.all_gather, state)


def shard_optimizer_state(state: dict[str, Any], first: int, last: int) -> dict[str, Any]:
    """Members ``first`` to ``last - 1`` of the result of ``gather_optimizer_state``."""
    return _map_moments(lambda moment: moment[first:last].clone(), state)


def _map_moments(change: Callable[[Tensor], Tensor], state: dict[str, Any]) -> dict[str, Any]:
    """Change every entry with one row per member; the step is one number for all members."""
    moments = {
        index: {
            name: change(value) if isinstance(value, Tensor) and value.dim() > 0 else value
            for name, value in entry.items()
        }
        for index, entry in state["state"].items()
    }
    return {**state, "state": moments}


# Neighboring members that take the same number of steps per epoch: a view of the whole ensemble,
# their indices in it, and the steps.
EpochLengthGroup = tuple[Ensemble[Any], slice, int]


def epoch_length_groups(whole: Ensemble[Any], steps: Sequence[int]) -> list[EpochLengthGroup]:
    """Divide an ensemble into runs of members with the same number of steps per epoch.

    A member that trains on a tenth of the data takes a tenth of the steps. Further steps of other
    members must not move it, not even by AdamW's decay and momentum; in a group of its own it has
    no gradient then, and the optimizer skips it. Members with equal numbers should be neighbors.
    """
    if len(set(steps)) == 1:
        return [(whole, slice(0, len(steps)), steps[0])]
    groups: list[EpochLengthGroup] = []
    first = 0
    for number, members in groupby(steps):
        last = first + len(list(members))
        groups.append((whole.slice(first, last), slice(first, last), number))
        first = last
    return groups
