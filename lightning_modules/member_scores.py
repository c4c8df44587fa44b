"""Loss and accuracy per seed, as a torchmetrics metric: exact sums, reduced once."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

# The parts of an evaluation batch that are scored apart.
SUBSETS = ("train", "test", "test_leaked", "test_clean")


class MemberScores(Metric):
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

    def __init__(self, num_members: int) -> None:
        super().__init__()
        shape = (len(SUBSETS), num_members)
        for name in ("counts", "correct", "losses"):
            self.add_state(name, torch.zeros(shape), dist_reduce_fx="sum")

    def update(
        self, losses: Tensor, correct: Tensor, targets: Tensor, is_test: Tensor, leaked: Tensor
    ) -> None:
        """Add examples: every argument is (S, N); targets of -100 do not count."""
        counted = targets != -100
        subsets = torch.stack(
            [counted & ~is_test, counted & is_test, leaked & is_test, counted & is_test & ~leaked]
        ).float()  # (subset, S, N)
        self.counts += subsets.sum(-1)
        self.correct += (subsets * correct).sum(-1)
        self.losses += (subsets * losses).sum(-1)

    def compute(self) -> dict[str, Tensor]:
        """``train/accuracy``, ``test/loss`` and so on, each (S,); nan where nothing was scored."""
        scores = {
            "train/loss": self.losses[0] / self.counts[0],
            "train/accuracy": self.correct[0] / self.counts[0],
            "test/loss": self.losses[1] / self.counts[1],
            "test/accuracy": self.correct[1] / self.counts[1],
            "test/accuracy_leaked": self.correct[2] / self.counts[2],
            "test/accuracy_clean": self.correct[3] / self.counts[3],
            "data/test_inputs_in_train": self.counts[2] / self.counts[1],
        }
        return scores
