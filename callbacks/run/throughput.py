"""Speed: tokens a second, use of the device and waiting for data, while a model trains."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor

from callbacks.run.peak_flops import peak_flops_of


@dataclass
class _Tally:
    """What was trained in some stretch of time."""

    tokens: int = 0
    steps: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def add(self, other: _Tally) -> None:
        self.tokens += other.tokens
        self.steps += other.steps
        self.seconds += other.seconds
        self.waited += other.waited


class Speed(L.Callback):
    """Logs how fast a model trains, every ``trainer.log_every_n_steps`` optimizer steps.

    ``speed/tokens_per_second`` (of all ranks), ``speed/step_seconds``, ``speed/dataloader_wait_fraction``,
    ``speed/peak_memory_mib`` and, where the device's peak is known,
    ``speed/mfu`` describe training since the last log. Validation and the
    writing of checkpoints are left out, and so are the first ``warmup_steps`` optimizer steps of
    every fit, a resumed one included. Logging and other callbacks' train hooks count. The figures
    of the whole fit go into ``results.json``.

    The module may say ``tokens_in(batch) -> int``, the tokens of this rank's micro-batch (else the
    elements of its first tensor are counted), and ``flops_per_token() -> float``, forward and
    backward, without which there is no utilization. Ranks must have equally large micro-batches, as
    language models' ranks have, so that this rank's count times their number is exact and no rank
    asks another: nothing here is a collective. For automatic optimization.

    The share of waiting is the time that this process spent inside the loader for the next batch.
    A GPU that still had work queued did not wait as long, so that it bounds the loss from above.
    Peak memory is this rank's: allocated by PyTorch since the fit began on CUDA devices, elsewhere
    the peak resident memory of the process since it began, data workers not included.

    Args:
        warmup_steps: Optimizer steps left out at the start: compilation and first allocations.
        peak_flops: Peak FLOP/s of one device. By default from a table of NVIDIA GPUs, for the
            precisions '16-*' and 'bf16-*' only: a float32 run's peak depends on whether it may use
            TF32, which operations decide one by one.

    Attributes:
        tokens_per_second: The last that was logged, for progress bars; None before the first.
        summary: The whole fit: ``tokens`` (warm-up included), ``seconds`` (without warm-up), and
            the logged figures by their short names (without warm-up).
        results: The latter, as :class:`RunSummary` reads them.
        summary_metrics: The results that belong into a run's closing table.

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
        self.tokens_per_second: float | None = None
        self.summary: dict[str, float] = {}
        self.results: dict[str, Tensor | list[str]] = {}
        self.summary_metrics: list[str] = []
        self._clock: Callable[[], float] = time.perf_counter
        self._begin(torch.device("cpu"), first_step=0)

    def _begin(self, device: torch.device, first_step: int) -> None:
        self._device = device
        self._peak_tokens: float | None = None  # tokens a second that the peak would allow
        self._tokens = 0
        self._step = first_step
        self._warm_at = first_step + self.warmup_steps
        self._warm = self.warmup_steps == 0
        self._window, self._fit = _Tally(), _Tally()
        self._since: float | None = None  # the last reading; None while time does not count
        self._fetching_since = 0.0
        self.tokens_per_second = None
        self.summary, self.results, self.summary_metrics = {}, {}, []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._begin(pl_module.device, trainer.global_step)
        peak = self.peak_flops or peak_flops_of(pl_module.device, str(trainer.precision))
        if peak is not None and hasattr(pl_module, "flops_per_token"):
            self._peak_tokens = trainer.world_size * peak / float(pl_module.flops_per_token())  # type: ignore[operator]
        # No hook brackets the loader. Between two batches' hooks the loop also waits for the device
        # (it copies an unpinned batch, and with several ranks reads a flag from the device), which
        # would pass for waiting for data. So listen where the loop starts and stops its profiler.
        loop = trainer.fit_loop.epoch_loop
        vars(loop).update(
            _on_before_fetch=self._before(loop._on_before_fetch),
            _on_after_fetch=self._after(loop._on_after_fetch),
        )

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        count: Callable[[Any], int] = getattr(pl_module, "tokens_in", elements_of_first_tensor)
        tokens = count(batch) * trainer.world_size
        self._tokens += tokens
        step = trainer.global_step
        stepped, self._step = step > self._step, step
        if not self._warm:
            self._warm = step >= self._warm_at  # the next fetch starts the clock
            return
        self._window.tokens += tokens
        self._window.steps += stepped
        stride = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if stepped and stride and step % stride == 0:
            self._read_clock(go_on=True)
            self._log(trainer)
        loop = trainer.fit_loop
        if loop.epoch_loop.done or loop.epoch_loop._should_check_val_fx(loop._data_fetcher):  # type: ignore[arg-type]
            # Now and not in on_validation_start, before which the loop starts loaders' workers.
            self._read_clock(go_on=False)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._read_clock(go_on=False)  # a later callback asked training to stop

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._read_clock(go_on=False)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._read_clock(go_on=False)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restore(trainer)
        self._fit.add(self._window)
        figures = self._figures(self._fit)
        self.summary = {"tokens": self._tokens, "seconds": self._fit.seconds, **figures}
        self.results = {
            f"speed/{name}": torch.tensor([value], dtype=torch.float64)
            for name, value in figures.items()
        }
        shown = ("tokens_per_second", "peak_memory_mib")
        self.summary_metrics = [f"speed/{name}" for name in shown if name in figures]

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._restore(trainer)

    # ---- the clock -----------------------------------------------------------------------------

    def _read_clock(self, go_on: bool) -> None:
        """Count the time since the last reading, and go on counting or pause to the next fetch."""
        if self._since is None:
            return
        # The device is behind the host by what is queued. Without waiting for it, windows would be
        # right on average, since they begin as late as they end, but a pause would begin with work
        # of training still queued. It costs little: at log steps reading the metrics that the
        # module logs waits as well, and pauses are rare. Other steps never wait.
        synchronise(self._device)
        now = self._clock()
        self._window.seconds += now - self._since
        self._since = now if go_on else None

    def _before(self, listener: Callable[[], None]) -> Callable[[], None]:
        def before_fetch() -> None:
            listener()
            if self._warm and self._since is None:
                synchronise(self._device)  # what was queued before does not count
                self._since = self._clock()
            self._fetching_since = self._clock()

        return before_fetch

    def _after(self, listener: Callable[[], None]) -> Callable[[], None]:
        def after_fetch() -> None:
            listener()
            if self._since is not None:
                self._window.waited += self._clock() - self._fetching_since

        return after_fetch

    def _restore(self, trainer: L.Trainer) -> None:
        for name in ("_on_before_fetch", "_on_after_fetch"):
            vars(trainer.fit_loop.epoch_loop).pop(name, None)

    # ---- the figures ---------------------------------------------------------------------------

    def _log(self, trainer: L.Trainer) -> None:
        """Log the window and open the next one.

        To the loggers and not with ``log_dict``, whose entries the loop would go through at every
        batch, for values that change at log steps only.
        """
        figures = self._figures(self._window)
        self._fit.add(self._window)
        self._window = _Tally()
        self.tokens_per_second = figures["tokens_per_second"]
        if trainer.is_global_zero:
            named = {f"speed/{name}": value for name, value in figures.items()}
            for logger in trainer.loggers:
                logger.log_metrics(named, step=trainer.global_step)

    def _figures(self, tally: _Tally) -> dict[str, float]:
        figures: dict[str, float] = {}
        if tally.steps:
            figures["tokens_per_second"] = tally.tokens / tally.seconds
            figures["step_seconds"] = tally.seconds / tally.steps
            if self._peak_tokens is not None:
                share = figures["tokens_per_second"] / self._peak_tokens
                figures["mfu"] = share
            figures["dataloader_wait_fraction"] = tally.waited / tally.seconds
        memory = peak_memory_mib(self._device)
        return figures if memory is None else {**figures, "peak_memory_mib": memory}


def peak_memory_mib(device: torch.device) -> float | None:
    """Peak memory in MiB: PyTorch's on a CUDA device, else the process's; None on Windows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB on Linux


def elements_of_first_tensor(batch: Any) -> int:
    """Elements of a batch's first tensor, which for token ids is their number.

    Raises:
        ValueError: There is no tensor in the batch.
    """
    for tensor in _tensors(batch):
        return tensor.numel()
    raise ValueError(
        f"Speed found no tensor in a batch of type {type(batch).__name__}; give the module a "
        f"method tokens_in(batch), or remove Speed from trainer.callbacks"
    )


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(item)


def synchronise(device: torch.device) -> None:
    """Wait until a device has done what was given to it."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
