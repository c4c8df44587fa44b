"""What a config would train, and whether it could be started, without training it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from torch import nn

from callbacks.run.peak_flops import peak_flops_of
from glassbox.cli.launch import Launch
from lightning_modules.gpt2.memory_estimate import TrainingSetup, memory_parts

# Shares of the peak that GPT-2 small reaches differ; this one is ordinary. V100s, the paper's GPUs,
# have no bfloat16.
_SHARE_OF_PEAK = 0.4
_GPUS = {"bf16-mixed": ("A100", "H100", "H200"), "16-mixed": ("V100", "A100", "H100", "H200")}


def dry_run_settings(launch: Launch, trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a trainer that has as many ranks as are planned, on a machine without their GPUs.

    It is built on the CPU and never launched, so that data and model see the planned number of
    ranks, and refuse what they would refuse in the run.

    Args:
        launch: What the config asks for.
        trainer: The trainer's settings, with the strategy built.
    """
    from lightning.pytorch.plugins.environments import LightningEnvironment
    from lightning.pytorch.strategies import DDPStrategy

    warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
    strategy = trainer.get("strategy") or "auto"
    known = isinstance(strategy, DDPStrategy) or str(strategy).startswith(("auto", "ddp"))
    # A CPU has neither float16 nor NVIDIA's 8 bits.
    elsewhere = launch.precision.startswith(("16", "transformer-engine"))
    return {
        "accelerator": "cpu",
        "devices": launch.devices or 1,
        "num_nodes": launch.num_nodes,
        "strategy": strategy if known else "ddp",
        "precision": "32-true" if elsewhere else trainer.get("precision"),
        "plugins": [LightningEnvironment()],
    }


def describe_run(trainer: L.Trainer, model: Any, data: Any, launch: Launch) -> str:
    """Model, parameters, data, steps, devices, memory and time of a run that was not started.

    Data, callbacks and model are set up as for the run, and nothing is written.

    Args:
        trainer: The trainer, of :func:`dry_run_settings`.
        model: The LightningModule; one with ``seeds`` is counted per seed. ``flops_per_token()``
            and the parts that ``memory_parts`` reads are used if it has them.
        data: The data module; its ``task``, ``steps_per_epoch``, sizes of batches and what
            ``describe()`` says are shown if it has them.
        launch: What the config asks for.

    Raises:
        ValueError: `fit` would refuse this.
    """
    from lightning.pytorch.cli import SaveConfigCallback  # seconds, for those who need it not

    data.trainer = model.trainer = trainer
    trainer.strategy.connect(model)
    trainer.datamodule = data  # type: ignore[attr-defined]
    data.prepare_data()
    data.setup("fit")
    # These have nothing to refuse, and the last would write.
    others = (Checkpoint, ProgressBar, SaveConfigCallback)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if not isinstance(callback, others):
            callback.setup(trainer, model, "fit")
    model.setup("fit")
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    seeds = len(getattr(model, "seeds", [0]))
    times_seeds = f" × {seeds} seeds = {parameters:,}" if seeds > 1 else _of_embeddings(model)
    task = f", {data.task!r}" if hasattr(data, "task") else ""
    details = data.describe() if hasattr(data, "describe") else {}
    lines = [
        f"model       {type(model).__name__}, {parameters // seeds:,} parameters{times_seeds}",
        f"data        {type(data).__name__}{task}",
        *(f"{name:<12}{text}" for name, text in details.items()),
        *_steps(trainer, data),
        f"devices     {_devices(launch, model)}",
        *_memory(trainer, model, data, launch),
        *_compute(trainer, model, data, launch),
    ]
    return "\n".join(lines)


def _of_embeddings(model: nn.Module) -> str:
    """How many parameters of a language model are in embeddings; nothing of other models."""
    head_weight = getattr(getattr(model, "head", None), "weight", None)
    tables = {id(m.weight): m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    if not tables or head_weight is None:
        return ""
    tables[id(head_weight)] = head_weight
    count = sum(table.numel() for table in tables.values())
    rest = sum(p.numel() for p in model.parameters()) - count
    return f", {count:,} in embeddings and {rest:,} elsewhere"


def _all_steps(trainer: L.Trainer, data: Any) -> int | None:
    """Optimizer steps of the run; None where nothing limits them, or they are not known."""
    epochs, per_epoch = trainer.max_epochs, getattr(data, "steps_per_epoch", None)
    limits = [trainer.max_steps] if trainer.max_steps >= 0 else []
    if per_epoch is not None and epochs is not None and epochs >= 0:
        limits.append(per_epoch * epochs)
    return min(limits) if limits else None


def _tokens_a_step(data: Any) -> int | None:
    sizes = [getattr(data, name, None) for name in ("global_batch_size", "block_size")]
    return None if None in sizes else sizes[0] * sizes[1]  # type: ignore[operator]


def _steps(trainer: L.Trainer, data: Any) -> list[str]:
    epochs, per_epoch = trainer.max_epochs, getattr(data, "steps_per_epoch", None)
    unlimited = epochs is None or epochs < 0
    lines = [f"epochs      {'no limit' if unlimited else format(epochs, ',')}"]
    if per_epoch is None:
        return lines
    steps, tokens = _all_steps(trainer, data), _tokens_a_step(data)
    in_all = f", {steps:,} in all" if steps is not None else ""
    if steps is not None and tokens is not None:
        in_all += f": {steps * tokens:,} tokens, {steps / per_epoch:,.2f} epochs"
    return [*lines, f"steps       {per_epoch:,} an epoch{in_all}"]


def _devices(launch: Launch, model: Any) -> str:
    number = "all of a node" if launch.devices is None else str(launch.devices)
    nodes = f" on each of {launch.num_nodes} nodes" if launch.num_nodes > 1 else ""
    counted = ", counted as 1 here" if launch.devices is None else ""
    compiled = _is_compiled(model, launch)
    compiles = "" if compiled is None else ", compiled" if compiled else ", not compiled"
    return f"{number} × {launch.accelerator}{nodes}{counted}, {launch.precision}{compiles}"


def _is_compiled(model: Any, launch: Launch) -> bool | None:
    """Whether the run compiles its model; None where that depends on more than the config."""
    mode = getattr(model, "compile_mode", None)
    if mode == "auto" and hasattr(model, "flops_per_token"):
        return launch.accelerator == "gpu"
    return {"always": True, "never": False}.get(mode or "")


def _memory(trainer: L.Trainer, model: Any, data: Any, launch: Launch) -> list[str]:
    windows: Any = getattr(data, "micro_batch_size", None)
    length: Any = getattr(data, "block_size", None)
    if None in (windows, length) or launch.precision not in ("32-true", "16-mixed", "bf16-mixed"):
        return []
    ddp: dict[str, Any] = getattr(trainer.strategy, "_ddp_kwargs", {})
    setup = TrainingSetup(
        windows,
        length,
        mixed_precision=launch.precision.endswith("-mixed"),
        on_gpu=launch.accelerator == "gpu",
        copies_gradients=trainer.world_size > 1 and not ddp.get("gradient_as_bucket_view", False),
    )
    parts = memory_parts(model, setup)
    if parts is None:
        return []
    total = sum(parts.values())
    unit, size, digits = ("GiB", 2**30, 2) if total >= 2**30 else ("MiB", 2**20, 0)
    listed = ", ".join(f"{bytes_ / size:.{digits}f} {name}" for name, bytes_ in parts.items())
    return [f"memory      {total / size:.{min(digits, 1)}f} {unit} a device (estimate): {listed}"]


def _compute(trainer: L.Trainer, model: Any, data: Any, launch: Launch) -> list[str]:
    if not hasattr(model, "flops_per_token"):
        return []
    a_token, steps, tokens = (
        model.flops_per_token(),
        _all_steps(trainer, data),
        _tokens_a_step(data),
    )
    text = f"compute     {a_token / 1e9:.3g} GFLOP a token"
    if steps is None or tokens is None:
        return [text]
    flops = a_token * steps * tokens
    text += f", {flops:.3g} FLOP in all"
    times: dict[str, list[str]] = {}
    for name in _GPUS.get(launch.precision, ()) if launch.accelerator == "gpu" else ():
        peak = peak_flops_of(name, launch.precision)
        assert peak is not None
        seconds = flops / (trainer.world_size * peak * _SHARE_OF_PEAK)
        times.setdefault(_duration(seconds), []).append(name)
    if times:
        listed = ", ".join(f"{duration} ({', '.join(names)})" for duration, names in times.items())
        text += f"; at {_SHARE_OF_PEAK:.0%} of the GPUs' peak (estimate) {listed}"
    return [text]


def _duration(seconds: float) -> str:
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
