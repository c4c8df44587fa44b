"""`lightning check`: what a config would train, without training it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from callbacks.run.peak_flops import peak_flops_of
from glassbox.cli.launch import ProcessLayout
from lightning_modules.gpt2.memory_estimate import TrainingSetup, memory_parts

# An ordinary fraction of the GPU's peak for GPT-2 small. V100s have no bfloat16.
_FRACTION_OF_PEAK = 0.4
_GPUS = {"bf16-mixed": ("A100", "H100", "H200"), "16-mixed": ("V100", "A100", "H100", "H200")}


def dry_run_settings(layout: ProcessLayout, trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a trainer with the planned number of ranks, on a machine without their GPUs.

    The trainer is built on the CPU and never launched. Data and model see the planned number of
    ranks, and raise the errors that they would raise in the run.
    """
    warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
    strategy = trainer.get("strategy") or "auto"
    is_ddp = isinstance(strategy, DDPStrategy) or str(strategy).startswith(("auto", "ddp"))
    # Precisions that a CPU does not have: float16 and NVIDIA's 8 bits.
    gpu_only = layout.precision.startswith(("16", "transformer-engine"))
    return {
        "accelerator": "cpu",
        "devices": layout.devices or 1,
        "num_nodes": layout.num_nodes,
        "strategy": strategy if is_ddp else "ddp",
        "precision": "32-true" if gpu_only else trainer.get("precision"),
        "plugins": [LightningEnvironment()],
    }


def describe_run(trainer: L.Trainer, model: Any, data: Any, layout: ProcessLayout) -> str:
    """Describe model, data, steps, devices, memory and time of a run that is not started.

    Data, callbacks and model are set up as for the run, with its errors; nothing is written. A
    model with ``seeds`` is counted per seed.
    """
    data.trainer = model.trainer = trainer
    trainer.strategy.connect(model)
    trainer.datamodule = data  # type: ignore[attr-defined]
    data.prepare_data()
    data.setup("fit")
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        # These have nothing to check, and the last would write.
        if not isinstance(callback, Checkpoint | ProgressBar | SaveConfigCallback):
            callback.setup(trainer, model, "fit")
    model.setup("fit")
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    seeds = len(getattr(model, "seeds", [0]))
    details = f" × {seeds} seeds = {parameters:,}" if seeds > 1 else _embedding_parameters(model)
    task = f", {data.task!r}" if hasattr(data, "task") else ""
    of_data = data.describe() if hasattr(data, "describe") else {}
    steps, tokens = _total_steps(trainer, data), _tokens_per_step(data)
    lines = [
        f"model       {type(model).__name__}, {parameters // seeds:,} parameters{details}",
        f"data        {type(data).__name__}{task}",
        *(f"{name:<12}{text}" for name, text in of_data.items()),
        *_steps(trainer.max_epochs, getattr(data, "steps_per_epoch", None), steps, tokens),
        f"devices     {_devices(layout, model)}",
        *_memory(trainer, model, data, layout),
        *_compute(trainer.world_size, model, layout, steps and tokens and steps * tokens),
    ]
    return "\n".join(lines)


def _embedding_parameters(model: nn.Module) -> str:
    """A language model's parameters in embeddings and elsewhere; empty for other models."""
    head_weight = getattr(getattr(model, "head", None), "weight", None)
    tables = {id(m.weight): m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    if not tables or head_weight is None:
        return ""
    tables[id(head_weight)] = head_weight
    count = sum(table.numel() for table in tables.values())
    rest = sum(p.numel() for p in model.parameters()) - count
    return f", {count:,} in embeddings and {rest:,} elsewhere"


def _total_steps(trainer: L.Trainer, data: Any) -> int | None:
    """Optimizer steps of the run; None if nothing limits them, or their number is not known."""
    epochs, per_epoch = trainer.max_epochs, getattr(data, "steps_per_epoch", None)
    limits = [trainer.max_steps] if trainer.max_steps >= 0 else []
    if per_epoch is not None and epochs is not None and epochs >= 0:
        limits.append(per_epoch * epochs)
    return min(limits) if limits else None


def _tokens_per_step(data: Any) -> int | None:
    batch_size = getattr(data, "global_batch_size", None)
    length = getattr(data, "block_size", None)
    return None if batch_size is None or length is None else batch_size * length


def _steps(
    epochs: int | None, per_epoch: int | None, steps: int | None, tokens: int | None
) -> list[str]:
    unlimited = epochs is None or epochs < 0
    lines = [f"epochs      {'no limit' if unlimited else format(epochs, ',')}"]
    if per_epoch is None:
        return lines
    total = f", {steps:,} in total" if steps is not None else ""
    if steps is not None and tokens is not None:
        total += f": {steps * tokens:,} tokens, {steps / per_epoch:,.2f} epochs"
    return [*lines, f"steps       {per_epoch:,} per epoch{total}"]


def _devices(layout: ProcessLayout, model: Any) -> str:
    number = "all of a node" if layout.devices is None else str(layout.devices)
    nodes = f" on each of {layout.num_nodes} nodes" if layout.num_nodes > 1 else ""
    counted = ", counted as 1 here" if layout.devices is None else ""
    compiled = _is_compiled(model, layout)
    compiles = "" if compiled is None else ", compiled" if compiled else ", not compiled"
    return f"{number} × {layout.accelerator}{nodes}{counted}, {layout.precision}{compiles}"


def _is_compiled(model: Any, layout: ProcessLayout) -> bool | None:
    """Whether the run compiles its model; None if that depends on more than the config."""
    mode = getattr(model, "compile_mode", None)
    if mode == "auto" and hasattr(model, "flops_per_token"):
        return layout.accelerator == "gpu"
    return {"always": True, "never": False}.get(mode or "")


def _memory(trainer: L.Trainer, model: Any, data: Any, layout: ProcessLayout) -> list[str]:
    micro_batch_size = getattr(data, "micro_batch_size", None)
    length = getattr(data, "block_size", None)
    known = layout.precision in ("32-true", "16-mixed", "bf16-mixed")
    if micro_batch_size is None or length is None or not known:
        return []
    ddp: dict[str, Any] = getattr(trainer.strategy, "_ddp_kwargs", {})
    setup = TrainingSetup(
        micro_batch_size,
        length,
        mixed_precision=layout.precision.endswith("-mixed"),
        on_gpu=layout.accelerator == "gpu",
        copies_gradients=trainer.world_size > 1 and not ddp.get("gradient_as_bucket_view", False),
    )
    parts = memory_parts(model, setup)
    if parts is None:
        return []
    total = sum(parts.values())
    unit, size, digits = ("GiB", 2**30, 2) if total >= 2**30 else ("MiB", 2**20, 0)
    listed = ", ".join(f"{bytes_ / size:.{digits}f} {name}" for name, bytes_ in parts.items())
    return [f"memory      {total / size:.{min(digits, 1)}f} {unit} per device (estimate): {listed}"]


def _compute(world_size: int, model: Any, layout: ProcessLayout, tokens: int | None) -> list[str]:
    if not hasattr(model, "flops_per_token"):
        return []
    per_token = model.flops_per_token()
    text = f"compute     {per_token / 1e9:.3g} GFLOP per token"
    if tokens is None:
        return [text]
    flops = per_token * tokens
    text += f", {flops:.3g} FLOP in total"
    gpus_by_time: dict[str, list[str]] = {}
    for name in _GPUS.get(layout.precision, ()) if layout.accelerator == "gpu" else ():
        peak = peak_flops_of(name, layout.precision)
        assert peak is not None
        seconds = flops / (world_size * peak * _FRACTION_OF_PEAK)
        gpus_by_time.setdefault(_duration(seconds), []).append(name)
    if gpus_by_time:
        listed = ", ".join(f"{time} ({', '.join(gpus)})" for time, gpus in gpus_by_time.items())
        text += f"; at {_FRACTION_OF_PEAK:.0%} of the GPUs' peak (estimate) {listed}"
    return [text]


def _duration(seconds: float) -> str:
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
