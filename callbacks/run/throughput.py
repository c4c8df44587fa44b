"""Speed: tokens per second, device utilization and data-loading time during training."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch.profilers import Profiler
from torch import Tensor

from callbacks.run.lightning_internals import FETCH_ACTION, validation_is_due
from callbacks.run.peak_flops import peak_flops_of


@dataclass
class _Window:
    """What was trained in an interval of time."""

    tokens: int = 0
    steps: int = 0
    seconds: float = 0.0
    data_seconds: float = 0.0

    def add(self, other: _Window) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


class Speed(L.Callback):
    """Log how fast a model trains, every ``trainer.log_every_n_steps`` optimizer steps.

    ``speed/tokens_per_second`` (all ranks), ``speed/step_seconds``,
    ``speed/dataloader_wait_fraction``, ``speed/peak_memory_mib`` and, where the device's peak is
    known, ``speed/mfu`` (model FLOPs utilization) describe training since the last log. Validation,
    writing checkpoints and the first ``warmup_steps`` optimizer steps of every fit are excluded;
    logging and other callbacks' training hooks are included. ``results.json`` has the values of the
    whole fit. For automatic optimization only.

    A module can define ``tokens_in(batch) -> int``, the tokens of this rank's micro-batch;
    otherwise the elements of the batch's first tensor are counted. ``speed/mfu`` needs
    ``flops_per_token() -> float``, forward and backward. All ranks must have micro-batches of the
    same size, because this rank's count is multiplied by the number of ranks, not reduced.

    The wait fraction is the time that this process spent in the data loader. A GPU that still had
    queued work did not wait as long, so it is an upper bound. Peak memory is this rank's: on CUDA
    what PyTorch allocated since the fit began, elsewhere the peak resident memory of the process
    without data workers.

    Args:
        warmup_steps: Optimizer steps to exclude at the start (compilation, first allocations).
        peak_flops: Peak FLOP/s of one device. By default from a table of NVIDIA GPUs, for the
            precisions '16-*' and 'bf16-*' only: the float32 peak depends on whether an operation
            may use TF32.

    Attributes:
        tokens_per_second: The last logged value, for progress bars; None before the first.
        results: The metrics of the whole fit by full name, for ``RunSummary``.
        summary_metrics: The results that the run's summary table shows.

    Raises:
        ValueError: ``warmup_steps`` is negative, or ``peak_flops`` is not positive.
    """

    def __init__(self, warmup_steps: int = 10, peak_flops: float | None = None) -> None:
        if warmup_steps < 0:
            raise ValueError(f"Speed: warmup_steps is {warmup_steps}; it must not be negative")
        if peak_flops is not None and not peak_flops > 0:
            raise ValueError(f"Speed: peak_flops is {peak_flops}; it must be positive")
        self.warmup_steps = warmup_steps
        self.peak_flops = peak_flops
        self._clock: Callable[[], float] = time.perf_counter
        self._reset(torch.device("cpu"), first_step=0)

    def _reset(self, device: torch.device, first_step: int) -> None:
        self._device = device
        self._peak_tokens: float | None = None  # tokens per second at the device's peak
        self._step = first_step
        self._warm_at = first_step + self.warmup_steps
        self._warm = self.warmup_steps == 0
        self._window, self._fit = _Window(), _Window()
        self._since: float | None = None  # the last clock reading; None while paused
        self._fetching_since = 0.0
        self.tokens_per_second: float | None = None
        self.results: dict[str, Tensor] = {}
        self.summary_metrics: list[str] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_start(self, trainer: Any, pl_module: L.LightningModule) -> None:
        self._reset(pl_module.device, trainer.global_step)
        peak = self.peak_flops or peak_flops_of(pl_module.device, str(trainer.precision))
        flops_per_token = getattr(pl_module, "flops_per_token", None)
        if peak is not None and flops_per_token is not None:
            self._peak_tokens = trainer.world_size * peak / float(flops_per_token())
        trainer.profiler = _FetchProfiler(trainer.profiler, self)

    def on_train_batch_end(
        self, trainer: Any, pl_module: L.LightningModule, outputs: object, batch: object, *args: Any
    ) -> None:
        step = trainer.global_step
        stepped, self._step = step > self._step, step
        if not self._warm:
            self._warm = step >= self._warm_at  # the next fetch starts the clock
            return
        count: Callable[[object], int] = getattr(pl_module, "tokens_in", elements_of_first_tensor)
        self._window.tokens += count(batch) * trainer.world_size
        self._window.steps += stepped
        stride = trainer.log_every_n_steps
        if stepped and stride and step % stride == 0:
            self._read_clock()
            self._log(trainer)
        if trainer.fit_loop.epoch_loop.done or validation_is_due(trainer):
            # Before on_validation_start, because the loop starts the loader's workers in between.
            self._pause_clock()

    def on_validation_start(self, *args: Any, **kwargs: Any) -> None:
        self._pause_clock()  # a later callback stopped training

    on_save_checkpoint = on_train_epoch_end = on_validation_start

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        _remove_profiler(trainer)
        self._fit.add(self._window)
        metrics = self._metrics(self._fit)
        self.results = {n: torch.tensor([v], dtype=torch.float64) for n, v in metrics.items()}
        shown = ("speed/tokens_per_second", "speed/peak_memory_mib")
        self.summary_metrics = [name for name in shown if name in metrics]

    def on_exception(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        _remove_profiler(trainer)

    def _read_clock(self) -> None:
        """Add the time since the last reading to the window."""
        if self._since is None:
            return
        # The device runs behind the host. Without waiting for it, a pause would begin with work of
        # training still queued. At log steps, reading the logged metrics waits anyway; pauses are
        # rare, and no other step waits.
        synchronize(self._device)
        now = self._clock()
        self._window.seconds += now - self._since
        self._since = now

    def _pause_clock(self) -> None:
        """Stop counting until the next fetch."""
        self._read_clock()
        self._since = None

    def before_fetch(self) -> None:
        """Start the clock if it is paused. Called by the profiler, as is ``after_fetch``."""
        if self._warm and self._since is None:
            synchronize(self._device)  # earlier work does not count
            self._since = self._clock()
        self._fetching_since = self._clock()

    def after_fetch(self) -> None:
        """Count the time that the loader took."""
        if self._since is not None:
            self._window.data_seconds += self._clock() - self._fetching_since

    def _log(self, trainer: L.Trainer) -> None:
        """Log the window and start the next one.

        Directly to the loggers: the loop would process entries of ``log_dict`` at every batch, for
        values that change at log steps only.
        """
        metrics = self._metrics(self._window)
        self._fit.add(self._window)
        self._window = _Window()
        self.tokens_per_second = metrics["speed/tokens_per_second"]
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.log_metrics(metrics, step=trainer.global_step)

    def _metrics(self, window: _Window) -> dict[str, float]:
        metrics: dict[str, float] = {}
        if window.steps:
            metrics["tokens_per_second"] = window.tokens / window.seconds
            metrics["step_seconds"] = window.seconds / window.steps
            if self._peak_tokens is not None:
                metrics["mfu"] = metrics["tokens_per_second"] / self._peak_tokens
            metrics["dataloader_wait_fraction"] = window.data_seconds / window.seconds
        if (memory := peak_memory_mib(self._device)) is not None:
            metrics["peak_memory_mib"] = memory
        return {f"speed/{name}": value for name, value in metrics.items()}


class _FetchProfiler(Profiler):
    """Forward every action to the user's profiler, and call ``Speed`` around fetching a batch.

    No hook brackets the loader alone. Between the hooks of two batches the loop also copies the
    batch to the device and, with several ranks, exchanges flags.
    """

    def __init__(self, profiler: Profiler, speed: Speed) -> None:
        super().__init__()
        self.profiler, self.speed = profiler, speed

    def start(self, action_name: str) -> None:
        self.profiler.start(action_name)
        if action_name == FETCH_ACTION:
            self.speed.before_fetch()

    def stop(self, action_name: str) -> None:
        self.profiler.stop(action_name)
        if action_name == FETCH_ACTION:
            self.speed.after_fetch()


def _remove_profiler(trainer: Any) -> None:
    if isinstance(trainer.profiler, _FetchProfiler):
        trainer.profiler = trainer.profiler.profiler


def peak_memory_mib(device: torch.device) -> float | None:
    """Peak memory in MiB: PyTorch's on a CUDA device, else the process's; None on Windows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB on Linux


def elements_of_first_tensor(batch: object) -> int:
    """Elements of a batch's first tensor, which for token ids is the number of tokens."""
    for tensor in _tensors(batch):
        return tensor.numel()
    raise ValueError(
        f"Speed: a batch of type {type(batch).__name__} contains no tensor; define "
        f"tokens_in(batch) in the module, or remove Speed from trainer.callbacks"
    )


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(item)


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished its queued work."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
