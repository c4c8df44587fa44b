"""Each of Lightning's private counters that we read or write still means what we take it for."""

from __future__ import annotations

from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from lightning_modules.training.lightning_counters import (
    count_steps,
    last_step,
    limit_by_steps,
    rescale_batch_progress,
    steps_per_epoch,
)
from tests.helpers.language_model_runs import rows_of
from tests.helpers.trainers import quiet_trainer


class Data(L.LightningDataModule):
    """Five batches an epoch, or as many micro-batches of the same steps."""

    steps_per_epoch = 5

    def __init__(self, times: int = 1) -> None:
        super().__init__()
        self.times = times

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.ones(5 * self.times, 1), batch_size=1)


class Module(L.LightningModule):
    """Takes several optimizer steps per batch by hand, or lets Lightning take one."""

    def __init__(self, steps_by_hand: int = 0) -> None:
        super().__init__()
        self.layer, self.by_hand = nn.Linear(1, 1), steps_by_hand
        self.automatic_optimization = not steps_by_hand
        self.first_step: int | None = None

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def on_fit_start(self):
        if self.automatic_optimization:
            limit_by_steps(self.trainer)

    def on_load_checkpoint(self, checkpoint):
        rescale_batch_progress(self._trainer, checkpoint)

    def training_step(self, batch, batch_idx):
        self.first_step = self.global_step if self.first_step is None else self.first_step
        if self.by_hand:
            count_steps(self.trainer, self.by_hand)
            self.log("step_seen", float(self.global_step))
            return None
        return self.layer(batch).sum()


def make_trainer(**options: Any) -> L.Trainer:
    return quiet_trainer(**{"max_epochs": 3, **options})


pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


def test_steps_taken_by_hand_are_global_steps_and_number_the_rows_of_loggers(tmp_path):
    logger = CSVLogger(tmp_path, "run")
    trainer = make_trainer(logger=logger, max_epochs=1)
    trainer.fit(Module(steps_by_hand=4), Data())
    assert trainer.global_step == 20  # optim_step_progress
    # _batches_that_stepped; Lightning adds one for the batch itself.
    assert [row["step"] for row in rows_of(logger)] == [3, 7, 11, 15, 19]
    assert [row["step_seen"] for row in rows_of(logger)] == [4, 8, 12, 16, 20]


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, 15),
        ({"max_steps": 7}, 7),
        ({"limit_train_batches": 2}, 6),
        ({"limit_train_batches": 0.4}, 6),
        ({"max_epochs": -1}, None),
    ],
)
def test_last_step_is_the_step_at_which_lightning_stops(options, steps):
    trainer, module = make_trainer(**options), Module()
    trainer.datamodule = Data()  # type: ignore[attr-defined]
    trainer.strategy.connect(module)
    assert steps_per_epoch(trainer) == 5 and last_step(trainer) == steps
    if steps is not None:
        trainer.fit(module, Data())  # limited by epoch_loop.max_steps now
        assert trainer.global_step == steps and trainer.max_epochs == -1


def test_without_data_that_count_steps_the_run_is_limited_by_epochs():
    trainer = make_trainer(max_epochs=2)
    assert steps_per_epoch(trainer) is None and last_step(trainer) is None
    trainer.fit(Module(), torch.utils.data.DataLoader(torch.ones(3, 1), batch_size=1))
    assert trainer.global_step == 6 and trainer.max_epochs == 2


@pytest.mark.parametrize(("first", "then"), [(1, 2), (3, 1)])
def test_a_run_resumes_at_its_step_with_another_number_of_micro_batches(tmp_path, first, then):
    trainer = make_trainer(max_steps=7, accumulate_grad_batches=first)
    trainer.fit(Module(), Data(first))
    trainer.save_checkpoint(tmp_path / "seven.ckpt")
    trainer, module = make_trainer(accumulate_grad_batches=then), Module()
    trainer.fit(module, Data(then), ckpt_path=tmp_path / "seven.ckpt", weights_only=True)
    assert module.first_step == 7 and trainer.global_step == 15
    # epoch_loop.batch_progress
    assert trainer.fit_loop.epoch_loop.batch_progress.total.ready == 15 * then
