"""A LanguageModel that is interrupted and resumed: same bits, same steps."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from callbacks import GracefulStop
from lightning_modules import LanguageModel
from tests.helpers.language_model_runs import (
    Losses,
    checkpoints,
    expected_warnings,
    make_data,
    make_model,
    make_trainer,
    rows_of,
)

pytestmark = expected_warnings


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
