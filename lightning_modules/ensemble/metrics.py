"""Loss and accuracy per seed, as a torchmetrics metric that reduces exact sums once."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

# Subsets of an evaluation batch that are scored separately.
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

    ``test_leaked`` are the test inputs that were also trained on, ``test_clean`` all others. Under
    sampling with replacement the accuracy on both together measures memorization as well.
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
        """Add examples (S', N) of the members from ``first`` on; a target of -100 does not count.

        ``leaked`` are test inputs that are in the training set; ``mirrored`` also those of which
        the mirror image under the task's symmetry is.
        """
        valid = targets != -100
        test = valid & is_test
        subsets = torch.stack([valid & ~is_test, test, test & leaked, test & ~leaked])
        members = slice(first, first + len(losses))
        self.mirrored[members] += (test & mirrored).sum(-1)
        self.counts[:, members] += subsets.sum(-1)  # (subset, S)
        self.correct[:, members] += (subsets & correct).sum(-1)
        # where, not a product: an infinite loss must not enter other subsets (0 · inf is NaN).
        self.losses[:, members] += torch.where(subsets, losses, 0.0).sum(-1)

    def compute(self) -> Tensor:
        """Every score of ``SCORES`` for every member, (scores, S); NaN if a subset is empty."""
        loss, accuracy = self.losses / self.counts, self.correct / self.counts  # (subset, S)
        leak, mirrored = self.counts[2] / self.counts[1], self.mirrored / self.counts[1]
        return torch.stack([loss[0], accuracy[0], loss[1], *accuracy[1:], leak, mirrored])

    def as_dict(self) -> dict[str, Tensor]:
        """The scores by name, (S,) each; NaN before the first update."""
        if not self.update_called:
            return {name: torch.full_like(self.mirrored, torch.nan) for name in SCORES}
        return dict(zip(SCORES, self.compute().unbind(), strict=True))
