"""Checkpoints of LanguageModel: their content, resumed runs, and none with a non-finite loss."""

from __future__ import annotations

import copy
import math
import os
import signal
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from callbacks import GracefulStop
from lightning_modules import CrossEntropyHead, HarmonicHead, LanguageModel
from tests.helpers.language_model_runs import (
    BLOCK,
    Losses,
    checkpoints,
    expected_warnings,
    make_data,
    make_model,
    make_trainer,
    rows_of,
)

pytestmark = expected_warnings


def test_a_resumed_run_writes_no_checkpoint_between_micro_batches(token_folder, tmp_path):
    # The step that it resumed from is a multiple of `every`, so that a checkpoint seems due again;
    # a run resumed from that one would not end with the same bits.
    folder, written = token_folder(train=22), []
    make_trainer(6, checkpoints(tmp_path / "first", 6)).fit(make_model(), make_data(folder, 1))

    class Moments(L.Callback):
        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            loop = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
            written.append((checkpoint["global_step"], loop["current"]["ready"] % 4))

    make_trainer(14, checkpoints(tmp_path / "second", 6), Moments()).fit(
        make_model(seed=1), make_data(folder, 1), ckpt_path=tmp_path / "first" / "step_6.ckpt",
        weights_only=True,
    )  # fmt: skip
    assert set(written) == {(12, 0), (14, 0)}


@pytest.mark.parametrize(
    ("head", "tie"), [(HarmonicHead, True), (partial(CrossEntropyHead, bias=True), False)]
)
def test_checkpoint_says_how_to_build_its_model(token_folder, tmp_path, head, tie):
    model = make_model(head=head, tie_embedding=tie)
    trainer = make_trainer(2, checkpoints(tmp_path / "kept"))
    trainer.fit(model, make_data(token_folder()))
    paths = list((tmp_path / "kept").glob("*.ckpt"))
    names = {"step_1.ckpt", "step_2.ckpt", "last.ckpt", "previous.ckpt"}
    assert {path.name for path in paths} == names
    for path in paths:
        torch.load(path, weights_only=True)
    again = LanguageModel.load_from_checkpoint(paths[0].parent / "last.ckpt", weights_only=True)
    assert (again.head.weight is again.network.embedding.weight) == tie
    assert type(again.head) is type(model.head) and again.hparams == model.hparams
    ids = torch.randint(257, (2, BLOCK))
    assert torch.equal(again.eval()(ids), model.eval()(ids))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Inductor's
def test_compiling_leaves_the_names_in_a_checkpoint_and_the_losses(token_folder, tmp_path):
    runs = []
    for mode in ("never", "always"):
        losses = Losses()
        trainer = make_trainer(4, losses, checkpoints(tmp_path / mode, 100))
        model = make_model(compile=mode)
        trainer.fit(model, make_data(token_folder(name=mode), micro=2))
        stored = torch.load(tmp_path / mode / "last.ckpt", weights_only=True)
        runs.append((list(stored["state_dict"]), losses.per_step))
    assert runs[0][0] == runs[1][0]
    assert runs[0][1] == pytest.approx(runs[1][1], abs=1e-5)


def assert_same_end(one: Path, two: Path) -> None:
    """Two checkpoints with the same bits in weights, optimizer and schedule."""
    a, b = (torch.load(path, weights_only=True) for path in (one, two))
    assert a["global_step"] == b["global_step"]
    for name, value in a["state_dict"].items():
        assert torch.equal(value, b["state_dict"][name]), name
    (first,), (second,) = a["optimizer_states"], b["optimizer_states"]
    assert first["param_groups"] == second["param_groups"]
    for index, state in first["state"].items():
        for key, value in state.items():
            assert torch.equal(value, second["state"][index][key]), (index, key)
    assert a["lr_schedulers"] == b["lr_schedulers"]


@pytest.mark.parametrize(
    ("limits", "stage"),
    [
        ({"max_steps": 12}, "training_step"),
        ({"max_steps": -1, "max_epochs": 3}, "validation_step"),
    ],
)
def test_run_that_was_stopped_between_micro_batches_resumes_to_the_same_bits(
    token_folder, tmp_path, monkeypatch, limits, stage
):
    folder = token_folder(train=22)
    options = {**limits, "val_check_interval": 2, "limit_val_batches": 1.0}
    straight = make_trainer(0, checkpoints(tmp_path / "straight", 100), **options)
    straight.fit(make_model(), make_data(folder, 2))

    method, calls = getattr(LanguageModel, stage), []
    # The first micro-batch of the eighth step, or the validation after the sixth.
    moment = 7 if stage == "training_step" else 6

    def interrupted(self, batch, batch_idx):
        calls.append(self.global_step)
        if calls[-1] == moment and calls.count(moment) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return method(self, batch, batch_idx)

    monkeypatch.setattr(LanguageModel, stage, interrupted)
    stop = GracefulStop()
    half = make_trainer(0, checkpoints(tmp_path / "half", 100), stop, **options)
    half.fit(make_model(), make_data(folder, 2))
    monkeypatch.setattr(LanguageModel, stage, method)
    assert stop.stopped and half.global_step == moment + 1

    resumed = make_trainer(0, checkpoints(tmp_path / "resumed", 100), **options)
    resumed.fit(
        make_model(seed=1), make_data(folder, 2), ckpt_path=tmp_path / "half" / "last.ckpt",
        weights_only=True,
    )  # fmt: skip
    assert_same_end(tmp_path / "straight" / "last.ckpt", tmp_path / "resumed" / "last.ckpt")


@pytest.mark.parametrize(("first", "then", "step"), [(4, 1, 5), (1, 4, 8)])
def test_a_run_can_be_resumed_with_another_size_of_micro_batches(
    token_folder, tmp_path, first, then, step
):
    # As on another number of devices: the steps have the same global batches.
    folder = token_folder(train=22)
    straight, losses = Losses(), Losses()
    options = {"val_check_interval": 2, "limit_val_batches": 1.0}
    make_trainer(12, checkpoints(tmp_path / "first"), straight, **options).fit(
        make_model(), make_data(folder, first)
    )
    logger = CSVLogger(tmp_path, "run")
    trainer = make_trainer(12, losses, logger=logger, **options)
    trainer.fit(
        make_model(seed=1), make_data(folder, then),
        ckpt_path=tmp_path / "first" / f"step_{step}.ckpt", weights_only=True,
    )  # fmt: skip
    assert losses.per_step == pytest.approx(straight.per_step[step:], abs=1e-4)
    validated = [row["step"] for row in rows_of(logger) if "val/loss" in row]
    assert validated == [even for even in (2, 4, 6, 8, 10, 12) if even > step]


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


@pytest.mark.parametrize(("micro", "log_every"), [(4, 1), (2, 50)])
def test_a_nan_loss_stops_the_run_and_keeps_the_last_good_checkpoint(
    token_folder, tmp_path, log_every, micro
):
    poison = Poison(5, micro_batch=4 // micro - 1)
    trainer = make_trainer(9, checkpoints(tmp_path, 2), poison, log_every_n_steps=log_every)
    with pytest.raises(ValueError, match="step 6;"):
        trainer.fit(make_model(), make_data(token_folder(), micro))
    assert trainer.global_step == 6  # the next checkpoint would have been broken
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert stored["global_step"] == 4
    assert len(list(tmp_path.glob("*.ckpt"))) == 4  # steps 2 and 4, last and previous
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
    trainer = make_trainer(steps, checkpoints(tmp_path, 100), bad, log_every_n_steps=50)
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
