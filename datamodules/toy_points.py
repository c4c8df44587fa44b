"""ToyPoints: a handful of points in the plane, each a class of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from datamodules.common.member_batches import EpochBatch, EvaluationBatch, SingleBatchLoader
from datamodules.common.member_data import MemberData
from datamodules.common.options import check_at_least, choose

# Harmonic-loss paper §3: toy cases 1 and 2, in the order of the authors' notebook.
TOY_POINTS: dict[str, list[tuple[float, float]]] = {
    "two": [(1.0, 1.0), (-1.0, -1.0)],
    "five": [(0.0, 1.0), (0.0, -1.0), (-1.0, 0.0), (1.0, 0.0), (0.0, 0.0)],
}


class ToyPoints(MemberData):
    """Two or five points in the plane for a ``Classifier`` of many seeds (harmonic-loss paper §3).

    Every point is a class. 'two' are (1, 1) and (-1, -1); 'five' are the unit vectors along both
    axes and the origin, which no line separates from the other four. Every step sees all points;
    seeds differ in their initial weights only. There is no test set: the question is how a head
    fits its training points.

    Networks get a point as ``num_inputs`` numbers; ``vocab_size`` is 0 because they are not tokens
    (see ``Identity``, under which the head is the one linear layer of the paper).

    Args:
        points: 'two' or 'five'.
        steps_per_epoch: Optimizer steps per epoch. Validation runs once an epoch: fewer steps give
            finer curves and cost more time.
        seeds: One per member; null takes those of the model.

    Raises:
        ValueError: An option is out of range.
    """

    vocab_size = 0
    num_inputs = 2

    def __init__(
        self, points: str = "five", steps_per_epoch: int = 100, seeds: list[int] | None = None
    ) -> None:
        super().__init__(seeds)
        choose("points", points, list(TOY_POINTS))
        check_at_least(1, steps_per_epoch=steps_per_epoch)
        self.points = points
        self.steps_per_epoch = steps_per_epoch
        self._coordinates = torch.tensor(TOY_POINTS[points])  # (N, 2)

    @property
    def num_classes(self) -> int:
        """One per point."""
        return len(self._coordinates)

    def setup(self, stage: str | None = None) -> None:
        """Determine the members' seeds, and move the points to the device."""
        super().setup(stage)
        if self.trainer is not None:
            self._coordinates = self._coordinates.to(self.trainer.strategy.root_device)

    def train_dataloader(self) -> SingleBatchLoader[EpochBatch]:
        """One item per epoch: all points, ``steps_per_epoch`` times (after ``setup``)."""
        inputs, targets = self._for_all_members()
        steps = self.steps_per_epoch
        # Expanded views: an epoch of many steps takes no memory.
        batch: EpochBatch = {
            "inputs": inputs.expand(steps, *inputs.shape),  # (steps, S, N, 2)
            "targets": targets.expand(steps, *targets.shape),  # (steps, S, N)
        }
        return SingleBatchLoader(lambda: batch)

    def val_dataloader(self) -> SingleBatchLoader[EvaluationBatch]:
        """One item: all points, as training examples (after ``setup``)."""
        inputs, targets = self._for_all_members()
        no = torch.zeros_like(targets, dtype=torch.bool)
        batch: EvaluationBatch = {
            "inputs": inputs,
            "targets": targets,
            "is_test": no,
            "leaked": no,
            "mirrored": no,
        }
        return SingleBatchLoader(lambda: batch)

    def state_dict(self) -> dict[str, Any]:
        """The options that determine the data of each step."""
        return {"points": self.points, "steps_per_epoch": self.steps_per_epoch}

    def describe(self) -> dict[str, str]:
        """Summary of the data for the command `check`."""
        return {"points": f"{self.num_classes} in the plane, each a class, all in every step"}

    def _for_all_members(self) -> tuple[Tensor, Tensor]:
        """The points (S, N, 2) and their classes (S, N), expanded without a copy."""
        points = self._coordinates
        members = len(self.member_seeds)
        classes = torch.arange(len(points), device=points.device)
        return points.expand(members, *points.shape), classes.expand(members, -1)
