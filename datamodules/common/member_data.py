"""MemberData: base class of data modules for many seeds at once."""

from __future__ import annotations

from typing import Any

import lightning as L

from datamodules.common.run import check_resume_data, member_seeds


class MemberData(L.LightningDataModule):
    """Data for the members of a ``Classifier`` or ``FeatureAutoencoder``, one per seed.

    A subclass defines ``train_dataloader`` and ``val_dataloader``, and in ``state_dict`` what
    determines the data of each step.
    """

    def __init__(self, seeds: list[int] | None) -> None:
        super().__init__()
        self.seeds = seeds
        self._member_seeds: list[int] = []

    def setup(self, stage: str | None = None) -> None:
        """Determine the members' seeds."""
        self._member_seeds = member_seeds(self.seeds, self.trainer)

    @property
    def member_seeds(self) -> list[int]:
        """The seed of each member."""
        if not self._member_seeds:
            raise RuntimeError("call setup() before asking for members or a data loader")
        return self._member_seeds

    @property
    def current_epoch(self) -> int:
        """The trainer's epoch; 0 outside a Trainer."""
        return self.trainer.current_epoch if self.trainer is not None else 0

    def test_dataloader(self) -> Any:
        """The same as for validation: metrics of training and test examples are separate."""
        return self.val_dataloader()

    def predict_dataloader(self) -> Any:
        """The same as for validation."""
        return self.val_dataloader()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check a checkpoint that training resumes from."""
        check_resume_data(self.trainer, state_dict, self.state_dict())

    def __str__(self) -> str:
        """Overrides Lightning's, which would inspect every batch."""
        return type(self).__name__
