"""GracefulStop: end a run cleanly on Ctrl-C, SIGTERM or SIGUSR1."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

from callbacks.run.lightning_internals import (
    disable_sigterm_broadcast,
    restore_sigterm_broadcast,
    validation_is_due,
)

# The ranks exchange signals at least this often.
_SYNC_EVERY_STEPS = 50

_MESSAGES = {
    signal.SIGINT: "received Ctrl-C: finishing this step; press Ctrl-C again to stop at once",
    signal.SIGTERM: "received SIGTERM: finishing this step and saving a checkpoint",
}
if sys.platform != "win32":
    _MESSAGES[signal.SIGUSR1] = "received SIGUSR1: finishing this step and saving a checkpoint"


class GracefulStop(L.Callback):
    """On Ctrl-C, SIGTERM or SIGUSR1, finish the optimizer step, save a checkpoint and end the run.

    A ``Classifier`` finishes its epoch, which is one batch. Results and figures so far are written,
    and a resumed run ends with the same bits as an uninterrupted one. Ctrl-C also runs a last
    validation. The other two signals leave little time, so only a validation that was due anyway
    runs. A second Ctrl-C stops at once, without a checkpoint.

    Schedulers send SIGTERM before they kill a job; ``sbatch --signal=SIGUSR1@120`` sends SIGUSR1
    120 s before the time limit. The exit code is 128 + the signal's number, as in a shell: 130
    after Ctrl-C, 143 after SIGTERM, 138 after SIGUSR1 (Linux). After the last two a script may run
    the same command again with ``--ckpt_path last``.

    Several ranks stop together, whichever of them received the signal: at the next logging step, or
    after 50 steps. Lightning would instead broadcast rank 0's flag before every micro-batch, and
    requeue SLURM jobs from within a signal handler. Both are switched off.

    Attributes:
        signal: Number of the signal that stopped the run, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._received = 0  # number of the signal that this process received
        self._step = 0  # the last one seen
        self._limit_val_batches: float | int | None = None

    @property
    def stopped(self) -> bool:
        """Whether a signal stopped the run."""
        return self.signal is not None

    def exit_code(self, trainer: L.Trainer) -> int:
        """Exit code for the process; 0 if no signal stopped the run.

        Processes that Lightning itself started end with 0, because it kills the first process when
        it finds another exit code among them.
        """
        child = trainer.local_rank > 0 and isinstance(_environment(trainer), LightningEnvironment)
        return 0 if self.signal is None or child else 128 + self.signal

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.signal, self._received = None, 0
        environment = _environment(trainer)
        if isinstance(environment, SLURMEnvironment):
            environment.auto_requeue = False

    # Lightning installs its handlers before the sanity check, and restores the original handlers of
    # all signals after the fit, so the handlers installed here need no restoring.

    def on_sanity_check_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._install_handlers(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._install_handlers(trainer)
        self._step = trainer.global_step
        disable_sigterm_broadcast(trainer)

    def _install_handlers(self, trainer: L.Trainer) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Python runs signal handlers in the main thread only

        def handle(signum: int, frame: FrameType | None) -> None:
            if self._received and signum == signal.SIGINT:
                self._stop_at_once(trainer)
            if not self._received:
                self._receive(trainer, signum)

        for signum in _MESSAGES:
            signal.signal(signum, handle)

    def _receive(self, trainer: L.Trainer, signum: int) -> None:
        self._received = signum
        if trainer.is_global_zero:
            print(f"\n{_MESSAGES[signal.Signals(signum)]}", file=sys.stderr)

    def _stop_at_once(self, trainer: L.Trainer) -> None:
        """Exit with the code of Ctrl-C; for a KeyboardInterrupt Lightning would exit with 1."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a third Ctrl-C would disturb the exit
        self.signal = signal.SIGINT
        launcher: Any = trainer.strategy.launcher
        if getattr(launcher, "procs", None):
            # They may wait for this process. Lightning watches the list, and kills this process
            # when one of them has ended.
            launcher.kill(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
            launcher.procs.clear()
        raise SystemExit(self.exit_code(trainer))

    def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        previous, self._step = self._step, trainer.global_step
        if self._step == previous:  # gradients still being accumulated are not in a checkpoint
            return
        received = self._received
        if trainer.world_size > 1:
            # A signal reaches the ranks at different steps, and a rank that stopped alone would
            # leave the others waiting. The exchange waits for the device, as logging does anyway.
            every = min(trainer.log_every_n_steps or _SYNC_EVERY_STEPS, _SYNC_EVERY_STEPS)
            if previous // every == self._step // every:
                return
            local = torch.tensor(received, device=trainer.strategy.root_device)
            received = int(trainer.strategy.reduce(local, reduce_op="max"))
        if not received or self.stopped:
            return
        self.signal = received
        if not self._received:
            self._receive(trainer, received)
        if received != signal.SIGINT and not validation_is_due(trainer):
            # Otherwise Lightning validates because the run stops.
            self._limit_val_batches = trainer.limit_val_batches
            trainer.limit_val_batches = 0
        trainer.should_stop = True

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        restore_sigterm_broadcast(trainer)
        if self._limit_val_batches is not None:
            trainer.limit_val_batches = self._limit_val_batches
            self._limit_val_batches = None
        if self.stopped:
            # A launcher kills all ranks when one exits with an error, and rank 0 may still write.
            trainer.strategy.barrier("GracefulStop")


def _environment(trainer: L.Trainer) -> Any:
    """Lightning's name for what started the processes; None on a single device."""
    return getattr(trainer.strategy, "cluster_environment", None)
