"""A signal stops a run at the end of its step, with a checkpoint and an exit code."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from torch import nn

from callbacks import GracefulStop, RunCheckpoint
from tests.helpers.trainers import quiet_trainer

SHORT_EPOCHS = {"batches": 3, "accumulate_grad_batches": 4, "val_check_interval": 100}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


class Module(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).square().mean()

    def validation_step(self, batch, batch_idx):
        pass


class Moments(L.Callback):
    """Send signals at a step, and record the steps of validations and checkpoints."""

    def __init__(self, signals: tuple[int, ...] = (), step: int = -1, hook: str = "train") -> None:
        self.signals, self.step, self.hook = signals, step, hook
        self.events: list[tuple[str, int]] = []

    def _send(self, trainer, hook: str) -> None:
        if (hook, trainer.global_step) == (self.hook, self.step):
            for signum in self.signals:
                os.kill(os.getpid(), signum)
            self.step = -1  # once

    def on_sanity_check_end(self, trainer, pl_module):
        self._send(trainer, "sanity")

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._send(trainer, "train")

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx):
        if not trainer.sanity_checking:
            self._send(trainer, "validate")

    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            self.events.append(("validation", trainer.global_step))

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        self.events.append(("checkpoint", trainer.global_step))


def fit(folder: Path, moments: Moments, stop: GracefulStop, batches: int = 20, **options):
    """Up to nine steps of two batches; validation after every fourth step."""
    checkpoint = RunCheckpoint(every_n_steps=100)
    checkpoint.dirpath = str(folder)
    loader = torch.utils.data.DataLoader(torch.ones(batches, 2), batch_size=1)
    settings = {
        "max_epochs": -1, "max_steps": 9, "val_check_interval": 8, "check_val_every_n_epoch": None,
        "accumulate_grad_batches": 2, "num_sanity_val_steps": 1, **options,
    }  # fmt: skip
    trainer = quiet_trainer(moments, stop, checkpoint, enable_checkpointing=True, **settings)
    trainer.fit(Module(), loader, torch.utils.data.DataLoader(torch.ones(1, 2)))
    return trainer


@pytest.mark.parametrize("which", SIGNALS)
def test_the_step_is_finished_and_its_checkpoint_written_first(tmp_path, which):
    stop, moments = GracefulStop(), Moments((which,), step=5)
    trainer = fit(tmp_path, moments, stop)
    assert stop.stopped and stop.signal == which and stop.exit_code(trainer) == 128 + which
    assert trainer.global_step == 6
    # After Ctrl-C there is time for a last validation; a scheduler may kill before it ends.
    closing = [("validation", 6)] if which == signal.SIGINT else []
    assert moments.events == [("validation", 4), ("checkpoint", 6), *closing]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 6
    assert trainer.limit_val_batches == 1.0  # as it was


def test_a_validation_due_at_this_step_runs_between_two_checkpoints(tmp_path):
    stop, moments = GracefulStop(), Moments((signal.SIGTERM,), step=3)
    trainer = fit(tmp_path, moments, stop)
    assert stop.stopped and trainer.global_step == 4
    assert moments.events[:2] == [("checkpoint", 4), ("validation", 4)]


@pytest.mark.parametrize(
    ("step", "hook", "options", "events"),
    [
        # Validation ends, and the run stops after the next step.
        (4, "validate", {}, [("validation", 4), ("checkpoint", 5)]),
        # A signal before the first step stops the run after it.
        (0, "sanity", {}, [("checkpoint", 1)]),
        # Every step ends with the last batch of an epoch, before all batches are accumulated.
        (2, "train", SHORT_EPOCHS, [("checkpoint", 3)]),
    ],
)
def test_a_signal_stops_the_run_after_the_next_complete_step(tmp_path, step, hook, options, events):
    stop, moments = GracefulStop(), Moments((signal.SIGTERM,), step, hook)
    trainer = fit(tmp_path, moments, stop, **options)
    assert moments.events == events and trainer.global_step == events[-1][1]
    assert stop.signal == signal.SIGTERM


def test_a_second_ctrl_c_stops_at_once(tmp_path, ctrl_c):
    moments = Moments((signal.SIGINT, signal.SIGINT), step=5)
    with pytest.raises(SystemExit) as stop:
        fit(tmp_path, moments, GracefulStop())
    assert stop.value.code == 130  # Lightning exits with 1 after a KeyboardInterrupt
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # as it was
    assert moments.events == [("validation", 4)]


def test_a_second_sigterm_changes_nothing(tmp_path):
    stop, moments = GracefulStop(), Moments((signal.SIGTERM, signal.SIGTERM), step=5)
    assert fit(tmp_path, moments, stop).global_step == 6
    assert moments.events == [("validation", 4), ("checkpoint", 6)]


@pytest.mark.parametrize("moments", [Moments(), Moments((signal.SIGTERM,), 8, "validate")])
def test_a_complete_run_exits_with_0(tmp_path, moments):
    """Also if a signal came after its last step."""
    stop = GracefulStop()
    trainer = fit(tmp_path, moments, stop, max_steps=8)
    assert trainer.global_step == 8 and not stop.stopped and stop.exit_code(trainer) == 0


def test_the_programs_handlers_are_restored(tmp_path):
    def own(signum, frame):
        """The program's own handler."""

    before = {which: signal.signal(which, own) for which in SIGNALS}
    try:
        fit(tmp_path, Moments(), GracefulStop(), max_steps=1)
        assert all(signal.getsignal(which) is own for which in SIGNALS)
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


def two_devices(**options) -> L.Trainer:
    return L.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, **options)


def test_only_the_first_process_of_lightnings_own_exits_with_the_signal(monkeypatch):
    stop, trainer = GracefulStop(), two_devices()
    stop.signal = signal.SIGTERM
    assert isinstance(trainer.strategy.cluster_environment, LightningEnvironment)
    assert stop.exit_code(trainer) == 143
    monkeypatch.setattr(L.Trainer, "local_rank", 1)
    assert stop.exit_code(trainer) == 0


def test_lightning_does_not_requeue_slurm_jobs(monkeypatch):
    for name, value in {
        "NTASKS": "2", "NTASKS_PER_NODE": "2", "PROCID": "0", "LOCALID": "0", "NODEID": "0",
        "JOB_ID": "1234", "JOB_NAME": "train",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"SLURM_{name}", value)
    trainer = two_devices(plugins=[SLURMEnvironment()])
    environment = trainer.strategy.cluster_environment
    assert environment.auto_requeue
    GracefulStop().setup(trainer, L.LightningModule(), "fit")
    assert not environment.auto_requeue


def test_training_works_if_lightning_no_longer_broadcasts_a_flag(tmp_path, monkeypatch):
    monkeypatch.delattr(_TrainingEpochLoop, "_broadcast_sigterm_tensor")
    assert fit(tmp_path, Moments((signal.SIGTERM,), step=2), GracefulStop()).global_step == 3
