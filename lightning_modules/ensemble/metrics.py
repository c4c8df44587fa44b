"""Loss and accuracy per seed, as a torchmetrics metric: exact sums, reduced once."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

# The parts of an evaluation batch that are scored apart.
SUBSETS = ("train", "test", "test_leaked", "test_clean")
SCORES = (
    "train/loss",
    "train/accuracy",
    "test/loss",
    "test/accuracy",
    "test/accuracy_leaked",
    "test/accuracy_clean",
    "data/leak_fraction",
    "data/test_inputs_or_mirrors_in_train",
)


class EnsembleMetrics(Metric):
    """Mean loss and accuracy of S members on four subsets of their examples.

    ``test_leaked`` are the test inputs that were also trained on, ``test_clean`` the others: under
    the authors' sampling the accuracy of all together says little.

    Args:
        num_members: S.
    """

    full_state_update = False
    counts: Tensor
    correct: Tensor
    losses: Tensor
    mirrored: Tensor

    def __init__(self, num_members: int) -> None:
        super().__init__()
        shape = (len(SUBSETS), num_members)
        for name in ("counts", "correct", "losses"):
            self.add_state(name, torch.zeros(shape), dist_reduce_fx="sum")
        self.add_state("mirrored", torch.zeros(num_members), dist_reduce_fx="sum")

    def update(
        self,
        losses: Tensor,
        correct: Tensor,
        targets: Tensor,
        is_test: Tensor,
        leaked: Tensor,
        mirrored: Tensor,
        first: int = 0,
    ) -> None:
        """Add examples: every argument is (S, N); targets of -100 do not count.

        ``leaked`` test inputs are in the training set, of ``mirrored`` ones the input itself or its
        mirror image under the task's symmetry. With fewer rows than members these are the members
        from ``first`` on, as where ranks score some each.
        """
        counted = targets != -100
        test = counted & is_test
        subsets = torch.stack([counted & ~is_test, test, test & leaked, test & ~leaked])
        members = slice(first, first + len(losses))
        self.mirrored[members] += (test & mirrored).sum(-1)
        self.counts[:, members] += subsets.sum(-1)  # (subset, S)
        self.correct[:, members] += (subsets & correct).sum(-1)
        # where, not a product: an infinite loss must stay in its own subset (0 · inf is nan).
        self.losses[:, members] += torch.where(subsets, losses, 0.0).sum(-1)

    def compute(self) -> Tensor:
        """Every score of ``SCORES`` for every member, (scores, S); nan where nothing was scored."""
        loss, accuracy = self.losses / self.counts, self.correct / self.counts  # (subset, S)
        leak, mirrored = self.counts[2] / self.counts[1], self.mirrored / self.counts[1]
        return torch.stack([loss[0], accuracy[0], loss[1], *accuracy[1:], leak, mirrored])

    def named(self) -> dict[str, Tensor]:
        """The scores by name, (S,) each; nan before anything was scored."""
        if not self.update_called:
            return {name: torch.full_like(self.mirrored, torch.nan) for name in SCORES}
        return dict(zip(SCORES, self.compute().unbind(), strict=True))
