"""A handful of points in the plane, each a class of its own: what a loss head does on its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor

from datamodules.algorithmic import EpochBatch, EvaluationBatch, EvaluationLoader
from datamodules.common.run import check_resume_data, member_seeds
from datamodules.texts.base import choose

# Harmonic-loss paper §3: toy cases 1 and 2, in the order of the authors' notebook.
TOY_POINTS: dict[str, list[tuple[float, float]]] = {
    "two": [(1.0, 1.0), (-1.0, -1.0)],
    "five": [(0.0, 1.0), (0.0, -1.0), (-1.0, 0.0), (1.0, 0.0), (0.0, 0.0)],
}


class ToyPoints(L.LightningDataModule):
    """Two or five points in the plane for a ``Classifier`` of many seeds (harmonic-loss paper §3).

    Every point is a class. 'two' are (1, 1) and (-1, -1); 'five' are the unit vectors along both
    axes and the origin, which no line parts from the other four. Every step sees all points, and
    seeds differ in their initial weights alone. There is no test set: the question is what a head
    does with what it is trained on, so that scores of test inputs stay empty.

    Networks read a point as ``num_inputs`` numbers; ``vocab_size`` is 0, since they are no tokens
    (see ``Identity``, under which the head is the one linear layer of the paper).

    Args:
        points: 'two' or 'five'.
        steps_per_epoch: Optimizer steps in an epoch, which is when validation measures: fewer give
            finer curves, more cost less.
        seeds: One per member; null takes those of the model that is trained.

    Raises:
        ValueError: There are no such points, or an epoch has no step.
    """

    vocab_size = 0
    num_inputs = 2

    def __init__(
        self, points: str = "five", steps_per_epoch: int = 100, seeds: list[int] | None = None
    ) -> None:
        super().__init__()
        choose("points", points, list(TOY_POINTS))
        if steps_per_epoch < 1:
            raise ValueError(f"steps_per_epoch is {steps_per_epoch}; it must be at least 1")
        self.points = points
        self.steps_per_epoch = steps_per_epoch
        self.seeds = seeds
        self._member_seeds: list[int] = []
        self._coordinates = torch.tensor(TOY_POINTS[points])  # (N, 2)

    @property
    def num_classes(self) -> int:
        """One for each point."""
        return len(self._coordinates)

    def setup(self, stage: str | None = None) -> None:
        """Find out how many members there are, and bring the points to the device.

        Raises:
            ValueError: Seeds differ from the model's.
        """
        self._member_seeds = member_seeds(self.seeds, self.trainer)
        trainer: Any = self.trainer
        if trainer is not None:
            self._coordinates = self._coordinates.to(trainer.strategy.root_device)

    def train_dataloader(self) -> PointsLoader:
        """One item an epoch: ``steps_per_epoch`` times all points.

        Raises:
            RuntimeError: ``setup`` has not been called.
        """
        inputs, targets = self._for_all_members()
        steps = self.steps_per_epoch
        # Views, so that an epoch of many steps takes no memory.
        return PointsLoader(
            {
                "inputs": inputs.expand(steps, *inputs.shape),  # (steps, S, N, 2)
                "targets": targets.expand(steps, *targets.shape),  # (steps, S, N)
            }
        )

    def val_dataloader(self) -> EvaluationLoader:
        """One item: all points, as training examples.

        Raises:
            RuntimeError: ``setup`` has not been called.
        """
        inputs, targets = self._for_all_members()
        no = torch.zeros_like(targets, dtype=torch.bool)
        batch: EvaluationBatch = {
            "inputs": inputs,
            "targets": targets,
            "is_test": no,
            "leaked": no,
            "mirrored": no,
        }
        return EvaluationLoader(batch)

    def test_dataloader(self) -> EvaluationLoader:
        """The same as for validation: there are no other points."""
        return self.val_dataloader()

    def predict_dataloader(self) -> EvaluationLoader:
        """The same as for validation."""
        return self.val_dataloader()

    def state_dict(self) -> dict[str, Any]:
        """What decides what is trained on, and at which step an epoch ends."""
        return {"points": self.points, "steps_per_epoch": self.steps_per_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with other data than those of the run that wrote a checkpoint.

        Raises:
            ValueError: There would be other points, or the same epoch would be another step.
        """
        consequence = "so that the same epoch has other points or steps"
        check_resume_data(self.trainer, state_dict, self.state_dict(), consequence)

    def describe(self) -> dict[str, str]:
        """What the command `check` shows of the data."""
        return {"points": f"{self.num_classes} in the plane, each a class, all in every step"}

    def __str__(self) -> str:
        """Lightning's own would look for a data set in every batch."""
        return f"ToyPoints({self.points})"

    def _for_all_members(self) -> tuple[Tensor, Tensor]:
        """The points (S, N, 2) and their classes (S, N), without a copy for each member."""
        if not self._member_seeds:
            raise RuntimeError("call setup() before asking for a data loader")
        points = self._coordinates
        members = len(self._member_seeds)
        classes = torch.arange(len(points), device=points.device)
        return points.expand(members, *points.shape), classes.expand(members, -1)


class PointsLoader:
    """Yields one ``EpochBatch``, the same in every epoch. (A list would mean several loaders.)"""

    def __init__(self, batch: EpochBatch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[EpochBatch]:
        yield self.batch
