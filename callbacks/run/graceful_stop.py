"""GracefulStop: a signal ends a run instead of losing it."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

import lightning as L
import torch
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

# Ranks ask one another at least so often whether one of them was told to stop.
_ASK_EVERY_STEPS = 50

_MESSAGES = {
    signal.SIGINT: "stopping after this step; Ctrl-C again stops at once",
    signal.SIGTERM: "told to end (SIGTERM): stopping after this step with a checkpoint",
}
if sys.platform != "win32":
    _MESSAGES[signal.SIGUSR1] = "time is running out (SIGUSR1): stopping with a checkpoint"


class GracefulStop(L.Callback):
    """At Ctrl-C, SIGTERM or SIGUSR1 let the optimizer step end, and close the run.

    (A ``Classifier``'s epoch is one batch, and ends as a whole.) The checkpoint, results and
    figures so far are kept, and a run that is resumed from them ends with the same bits as one that
    was never stopped. A second Ctrl-C stops at once, without a checkpoint. After the first a last
    validation closes the run, as Lightning has it; the other two signals leave little time, so that
    only a validation that was due at this step is made.

    SIGTERM is what schedulers send before they kill; SIGUSR1 what ``sbatch --signal=SIGUSR1@120``
    sends 120 s before the time is up. The exit code is 128 + the number of the signal, as a shell
    has it: 130 after Ctrl-C, 143 after SIGTERM, 138 after SIGUSR1 (on Linux). A script that finds
    one of the last two may start the same command again, with ``--ckpt_path last``.

    Several ranks stop together, whichever of them the signal came to: at the next step that is
    logged, or after 50 steps. Lightning would have rank 0's flag sent to all of them, and read it,
    before every micro-batch; and requeue SLURM jobs inside a signal handler. Both are switched off.

    Attributes:
        signal: Number of the signal that stopped the run; None if none did.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._received = 0  # number of the signal that this process got
        self._asked_at = 0
        self._validation_limit: float | int | None = None

    @property
    def stopped(self) -> bool:
        """Whether a signal stopped the run."""
        return self.signal is not None

    def exit_code(self, trainer: L.Trainer) -> int:
        """What the process should end with; 0 if the run was not stopped.

        Processes that Lightning itself started end with 0: it kills the first process at once when
        it finds another exit code among the others.
        """
        environment = trainer._accelerator_connector.cluster_environment
        child = isinstance(environment, LightningEnvironment) and trainer.local_rank > 0
        return 0 if self.signal is None or child else 128 + self.signal

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.signal, self._received = None, 0
        environment = trainer._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment):
            environment.auto_requeue = False

    # Lightning installs its handlers before the sanity check, and at the end of the fit puts back
    # those that were there before, for all signals; so these here need no putting back.

    def on_sanity_check_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._listen(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._listen(trainer)
        self._asked_at = trainer.global_step
        loop = trainer.fit_loop.epoch_loop
        if hasattr(loop, "_broadcast_sigterm_tensor"):
            vars(loop)["_broadcast_sigterm_tensor"] = _do_nothing

    def _listen(self, trainer: L.Trainer) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # signals are the main thread's

        def stop(signum: int, frame: FrameType | None) -> None:
            if self._received and signum == signal.SIGINT:
                self._stop_at_once(trainer)
            if not self._received:
                self._received = signum
                self._tell(trainer)

        for signum in _MESSAGES:
            signal.signal(signum, stop)

    def _stop_at_once(self, trainer: L.Trainer) -> None:
        """Leave, with the exit code of Ctrl-C, from within whatever is going on.

        Not by a KeyboardInterrupt, for which Lightning exits with 1.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a third would disturb the leaving
        self.signal = signal.SIGINT
        launcher = trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher):
            # They may wait for this process; and Lightning, which has an eye on this list, kills it
            # when it finds that one of them has ended.
            launcher.kill(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
            launcher.procs.clear()
        raise SystemExit(self.exit_code(trainer))

    def _tell(self, trainer: L.Trainer) -> None:
        if trainer.is_global_zero:
            print(f"\n{_MESSAGES[signal.Signals(self._received)]}", file=sys.stderr)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        # Not between the micro-batches of a step, whose gradients no checkpoint keeps.
        if (batch_idx + 1) % trainer.accumulate_grad_batches != 0:
            return
        received = self._received
        if trainer.world_size > 1:
            # A signal reaches ranks at different steps, and a rank that stopped alone would leave
            # the others waiting. Asking them waits for the device, as logging does anyway.
            every = min(trainer.log_every_n_steps or _ASK_EVERY_STEPS, _ASK_EVERY_STEPS)  # type: ignore[attr-defined]
            before, self._asked_at = self._asked_at, trainer.global_step
            if before // every == trainer.global_step // every:
                return
            asked = torch.tensor(received, device=trainer.strategy.root_device)
            received = int(trainer.strategy.reduce(asked, reduce_op="max"))
        if received and self.signal is None:
            self.signal = received
            if not self._received:
                self._received = received
                self._tell(trainer)
            if received != signal.SIGINT and not validation_is_due(trainer):
                # Lightning would validate because it stops.
                self._validation_limit = trainer.limit_val_batches
                trainer.limit_val_batches = 0
            trainer.should_stop = True

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        vars(trainer.fit_loop.epoch_loop).pop("_broadcast_sigterm_tensor", None)
        if self._validation_limit is not None:
            trainer.limit_val_batches = self._validation_limit
            self._validation_limit = None
        if self.stopped:
            # Launchers kill all ranks when one has ended with an exit code: rank 0 may still write.
            trainer.strategy.barrier("GracefulStop")


def validation_is_due(trainer: L.Trainer) -> bool:
    """Whether a validation belongs to the step that ends, even if the run were not to stop here."""
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    stops, trainer.should_stop = trainer.should_stop, False
    try:
        return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)
    finally:
        trainer.should_stop = stops


def _do_nothing() -> None:
    pass
