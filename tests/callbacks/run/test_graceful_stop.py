"""A signal stops a run at the end of its step, with a checkpoint, and an exit code for it."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector

from callbacks import GracefulStop, RunCheckpoint
from datamodules import OpenWebText
from lightning_modules import GPT2, CrossEntropyHead, LanguageModel

BLOCK = 16
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Moments(L.Callback):
    """Sends signals at a moment, and notes at which steps there was a validation or checkpoint."""

    def __init__(self, signals: tuple[int, ...], step: int, hook: str = "train") -> None:
        self.signals, self.step, self.hook = signals, step, hook
        self.events: list[tuple[str, int]] = []

    def _send(self, trainer, hook: str) -> None:
        if self.hook == hook and trainer.global_step == self.step and not trainer.sanity_checking:
            for each in self.signals:
                os.kill(os.getpid(), each)

    def on_sanity_check_end(self, trainer, pl_module):
        if self.hook == "sanity":
            os.kill(os.getpid(), self.signals[0])

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._send(trainer, "train")

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 0:
            self._send(trainer, "validate")

    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            self.events.append(("validation", trainer.global_step))

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        self.events.append(("checkpoint", trainer.global_step))


def run(token_folder, tmp_path, moments: Moments, stop: GracefulStop, **options) -> L.Trainer:
    network = partial(GPT2, num_layers=1, num_heads=1, width=16)
    model = LanguageModel(network, CrossEntropyHead, 257, BLOCK, warmup_steps=1, decay_steps=9)
    data = OpenWebText(
        str(token_folder()), tokenizer="bytes", block_size=BLOCK, global_batch_size=4,
        micro_batch_size=2, seed=0,
    )  # fmt: skip
    checkpoint = RunCheckpoint(every_n_steps=100)
    checkpoint.dirpath = str(tmp_path / "checkpoints")
    settings = {"max_steps": 9, "val_check_interval": 4, "num_sanity_val_steps": 1, **options}
    trainer = L.Trainer(
        accelerator="cpu", logger=False, check_val_every_n_epoch=None, log_every_n_steps=50,
        enable_progress_bar=False, enable_model_summary=False,
        callbacks=[moments, stop, checkpoint], **settings,
    )  # fmt: skip
    trainer.fit(model, data)
    return trainer


@pytest.mark.parametrize("which", SIGNALS)
def test_the_step_ends_and_its_checkpoint_is_written_before_anything_else(
    token_folder, tmp_path, which
):
    stop, moments = GracefulStop(), Moments((which,), step=5)
    trainer = run(token_folder, tmp_path, moments, stop)
    assert stop.stopped and stop.signal == which and stop.exit_code(trainer) == 128 + which
    assert trainer.global_step == 6
    # Who presses Ctrl-C has the time for a last validation, a scheduler may not give it.
    closing = [("validation", 6)] if which == signal.SIGINT else []
    assert moments.events == [("validation", 4), ("checkpoint", 6), *closing]
    stored = torch.load(Path(tmp_path, "checkpoints", "last.ckpt"), weights_only=True)
    assert stored["global_step"] == 6
    assert trainer.limit_val_batches == 1.0  # as it was


@pytest.mark.parametrize("which", SIGNALS)
def test_a_validation_that_was_due_at_this_step_is_made(token_folder, tmp_path, which):
    stop, moments = GracefulStop(), Moments((which,), step=3)
    trainer = run(token_folder, tmp_path, moments, stop)
    assert stop.stopped and trainer.global_step == 4
    # A second time after it, in case the first was all there was time for.
    assert moments.events[:2] == [("checkpoint", 4), ("validation", 4)]


def test_a_signal_in_a_validation_lets_it_end_and_stops_after_the_next_step(token_folder, tmp_path):
    stop, moments = GracefulStop(), Moments((signal.SIGTERM,), step=4, hook="validate")
    trainer = run(token_folder, tmp_path, moments, stop)
    assert stop.stopped and trainer.global_step == 5
    assert moments.events == [("validation", 4), ("checkpoint", 5)]


def test_a_signal_before_the_first_step_is_kept_for_its_end(token_folder, tmp_path):
    stop, moments = GracefulStop(), Moments((signal.SIGTERM,), step=0, hook="sanity")
    assert run(token_folder, tmp_path, moments, stop).global_step == 1
    assert stop.signal == signal.SIGTERM


def test_a_second_ctrl_c_stops_at_once(token_folder, tmp_path, ctrl_c):
    moments = Moments((signal.SIGINT, signal.SIGINT), step=5)
    with pytest.raises(SystemExit) as stop:
        run(token_folder, tmp_path, moments, GracefulStop())
    assert stop.value.code == 130  # Lightning's answer to a KeyboardInterrupt is 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # as it was
    assert moments.events == [("validation", 4)]


def test_a_second_sigterm_changes_nothing(token_folder, tmp_path):
    stop, moments = GracefulStop(), Moments((signal.SIGTERM, signal.SIGTERM), step=5)
    assert run(token_folder, tmp_path, moments, stop).global_step == 6
    assert moments.events == [("validation", 4), ("checkpoint", 6)]


def test_a_run_that_ended_by_itself_ends_with_0(token_folder, tmp_path):
    stop = GracefulStop()
    trainer = run(token_folder, tmp_path, Moments((), step=-1), stop)
    assert not stop.stopped and stop.exit_code(trainer) == 0 and trainer.global_step == 9


def test_a_signal_after_the_last_step_leaves_a_run_that_is_complete(token_folder, tmp_path):
    stop, moments = GracefulStop(), Moments((signal.SIGTERM,), step=8, hook="validate")
    trainer = run(token_folder, tmp_path, moments, stop, max_steps=8)
    assert trainer.global_step == 8 and stop.exit_code(trainer) == 0


def test_handlers_are_put_back(token_folder, tmp_path):
    def own(signum, frame):
        """Of the program around the run."""

    before = {which: signal.signal(which, own) for which in SIGNALS}
    try:
        run(token_folder, tmp_path, Moments((), step=-1), GracefulStop(), max_steps=1)
        assert all(signal.getsignal(which) is own for which in SIGNALS)
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


def test_processes_that_lightning_started_leave_the_exit_code_to_the_first(monkeypatch):
    stop, trainer = GracefulStop(), L.Trainer(accelerator="cpu", logger=False, barebones=True)
    stop.signal = signal.SIGTERM
    assert isinstance(trainer._accelerator_connector.cluster_environment, LightningEnvironment)
    assert stop.exit_code(trainer) == 143
    monkeypatch.setattr(L.Trainer, "local_rank", 1)
    assert stop.exit_code(trainer) == 0


def test_lightning_does_not_requeue_slurm_jobs_by_itself(monkeypatch):
    for name, value in {
        "NTASKS": "1", "NTASKS_PER_NODE": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0",
        "JOB_ID": "1234", "JOB_NAME": "train",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"SLURM_{name}", value)
    trainer = L.Trainer(accelerator="cpu", devices=1, logger=False, plugins=[SLURMEnvironment()])
    environment = trainer._accelerator_connector.cluster_environment
    assert environment.auto_requeue
    GracefulStop().setup(trainer, L.LightningModule(), "fit")
    assert not environment.auto_requeue


def test_lightning_still_has_what_this_callback_replaces():
    """Fails when a release has changed it: look then whether the replacement is still needed."""
    assert callable(_TrainingEpochLoop._broadcast_sigterm_tensor)
    assert "_broadcast_sigterm_tensor" in _TrainingEpochLoop.advance.__code__.co_names
    assert callable(_TrainingEpochLoop._should_check_val_fx)
    assert callable(_SignalConnector._sigterm_notifier_fn)


def test_training_works_where_lightning_has_not_what_is_replaced(
    token_folder, tmp_path, monkeypatch
):
    monkeypatch.delattr(_TrainingEpochLoop, "_broadcast_sigterm_tensor")
    stop, moments = GracefulStop(), Moments((signal.SIGTERM,), step=2)
    assert run(token_folder, tmp_path, moments, stop).global_step == 3
