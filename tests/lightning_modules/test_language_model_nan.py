"""A loss or gradient that is no number stops the run, and no checkpoint has it."""

from __future__ import annotations

import copy
import math

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
                pl_module.network.blocks[0].expand.weight[0, 0] = self.value


@pytest.mark.parametrize("log_every", [1, 2, 50])
@pytest.mark.parametrize("micro", [4, 2])
def test_a_loss_that_is_nan_stops_the_run_and_keeps_the_last_good_checkpoint(
    token_folder, tmp_path, log_every, micro
):
    folder = token_folder()
    checkpoint = RunCheckpoint(every_n_steps=2)
    checkpoint.dirpath = str(tmp_path / "checkpoints")
    model = make_model()
    trainer = make_trainer(
        9, checkpoint, Poison(5, micro_batch=4 // micro - 1), log_every_n_steps=log_every
    )
    with pytest.raises(ValueError) as error:
        trainer.fit(model, make_data(folder, micro))
    message = str(error.value)
    assert "NaN or infinite at optimizer step 6;" in message and "\n" not in message
    assert trainer.global_step == 6  # the next checkpoint would have been broken
    path = tmp_path / "checkpoints" / "last.ckpt"
    stored = torch.load(path, weights_only=True)
    assert stored["global_step"] == 4
    assert {file.name for file in path.parent.iterdir()} == {"last.ckpt", "previous.ckpt"}
    assert all(value.isfinite().all() for value in stored["state_dict"].values())
    good = LanguageModel.load_from_checkpoint(path, weights_only=True)
    assert good(torch.zeros(1, 3, dtype=torch.long)).isfinite().all()


def test_an_infinite_loss_counts_as_one_that_is_nan(token_folder, monkeypatch):
    model = make_model()
    loss = model._head_loss
    model._head_loss = lambda *arguments: loss(*arguments) + (math.inf if model.global_step == 2 else 0.0)
    with pytest.raises(ValueError, match="at optimizer step 3;"):
        make_trainer(5).fit(model, make_data(token_folder()))


def test_a_run_whose_last_step_is_nan_writes_no_checkpoint_of_it(token_folder, tmp_path):
    checkpoint = RunCheckpoint(every_n_steps=100)
    checkpoint.dirpath = str(tmp_path / "checkpoints")
    with pytest.raises(ValueError, match="at optimizer step 5;"):
        make_trainer(5, checkpoint, Poison(4), log_every_n_steps=50).fit(
            make_model(), make_data(token_folder())
        )
    assert not list(tmp_path.glob("checkpoints/*"))


def test_gradients_that_are_no_numbers_do_not_get_into_a_checkpoint(token_folder, tmp_path):
    class BadGradient(L.Callback):  # with a loss that is finite, as where a root meets zero
        def on_after_backward(self, trainer, pl_module):
            if trainer.global_step == 3:
                pl_module.network.positions.weight.grad[0, 0] = math.nan

    checkpoint = RunCheckpoint(every_n_steps=2)
    checkpoint.dirpath = str(tmp_path / "checkpoints")
    with pytest.raises(ValueError, match="NaN or infinite"):
        make_trainer(6, checkpoint, BadGradient(), log_every_n_steps=50).fit(
            make_model(), make_data(token_folder())
        )
    stored = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(value.isfinite().all() for value in stored["state_dict"].values())


def test_a_run_that_is_sound_again_after_a_failed_one_is_not_stopped(token_folder):
    model, folder = make_model(), token_folder()
    good = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="NaN"):
        make_trainer(3, Poison(1)).fit(model, make_data(folder))
    model.load_state_dict(good)
    make_trainer(3).fit(model, make_data(folder))
    assert math.isfinite(float(model.scores()["train/loss"]))
