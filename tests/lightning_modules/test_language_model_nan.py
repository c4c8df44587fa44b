"""A NaN or infinite loss or gradient stops the run, and no checkpoint contains it."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import lightning as L
import pytest
import torch

from callbacks import RunCheckpoint
from lightning_modules import LanguageModel
from tests.helpers.language_model_runs import expected_warnings, make_data, make_model, make_trainer

pytestmark = expected_warnings


class Poison(L.Callback):
    """Makes a weight NaN before a given optimizer step."""

    def __init__(self, step: int, micro_batch: int = 0, value: float = math.nan) -> None:
        self.step, self.micro_batch, self.value = step, micro_batch, value

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        due = batch_idx % trainer.accumulate_grad_batches == self.micro_batch
        if trainer.global_step == self.step and due:
            with torch.no_grad():
                next(pl_module.network.blocks.parameters()).fill_(self.value)


class BadGradient(L.Callback):
    """With a loss that is finite, as at the root of zero."""

    def on_after_backward(self, trainer, pl_module):
        if trainer.global_step == 3:
            pl_module.network.positions.weight.grad[0, 0] = math.nan


def writes_checkpoints(folder: Path, every: int) -> RunCheckpoint:
    callback = RunCheckpoint(every_n_steps=every)
    callback.dirpath = str(folder)
    return callback


@pytest.mark.parametrize(("micro", "log_every"), [(4, 1), (2, 50)])
def test_a_nan_loss_stops_the_run_and_keeps_the_last_good_checkpoint(
    token_folder, tmp_path, log_every, micro
):
    poison = Poison(5, micro_batch=4 // micro - 1)
    trainer = make_trainer(9, writes_checkpoints(tmp_path, 2), poison, log_every_n_steps=log_every)
    with pytest.raises(ValueError, match="step 6;"):
        trainer.fit(make_model(), make_data(token_folder(), micro))
    assert trainer.global_step == 6  # the next checkpoint would have been broken
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert stored["global_step"] == 4
    assert {file.name for file in tmp_path.glob("*.ckpt")} == {"last.ckpt", "previous.ckpt"}
    assert all(value.isfinite().all() for value in stored["state_dict"].values())
    good = LanguageModel.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert good(torch.zeros(1, 3, dtype=torch.long)).isfinite().all()


def test_an_infinite_loss_stops_the_run_as_well(token_folder):
    model = make_model()
    loss = model.head.loss

    def infinite_at_step_3(*arguments):
        return loss(*arguments) + (math.inf if model.global_step == 2 else 0.0)

    model.head.loss = infinite_at_step_3
    with pytest.raises(ValueError, match="step 3;"):
        make_trainer(5).fit(model, make_data(token_folder()))


@pytest.mark.parametrize(("bad", "steps"), [(Poison(4), 5), (BadGradient(), 6)])
def test_no_checkpoint_is_written_after_a_nan_loss_or_gradient(token_folder, tmp_path, bad, steps):
    trainer = make_trainer(steps, writes_checkpoints(tmp_path, 100), bad, log_every_n_steps=50)
    with pytest.raises(ValueError, match=f"step {5 if steps == 5 else 4};"):
        trainer.fit(make_model(), make_data(token_folder()))
    assert not list(tmp_path.glob("*.ckpt"))


def test_a_model_can_be_trained_again_after_a_failed_run(token_folder):
    model, folder = make_model(), token_folder()
    good = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="NaN"):
        make_trainer(3, Poison(1)).fit(model, make_data(folder))
    model.load_state_dict(good)
    make_trainer(3).fit(model, make_data(folder))
    assert math.isfinite(float(model.scores()["train/loss"]))
