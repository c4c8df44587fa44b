"""What a config would train, without training it."""

from __future__ import annotations

from typing import Any

import lightning as L


def describe_run(trainer: L.Trainer, model: Any, data: Any) -> str:
    """Model, parameters, data, steps and devices of a run that was built and not started.

    Args:
        trainer: The trainer.
        model: The LightningModule; one with ``seeds`` is counted per seed.
        data: The data module; its ``task``, ``steps_per_epoch`` and what ``describe()`` says are
            shown if it has them.
    """
    data.trainer = model.trainer = trainer
    trainer.strategy.connect(model)
    trainer.datamodule = data  # type: ignore[attr-defined]
    data.prepare_data()
    data.setup("fit")
    model.setup("fit")  # refuses what `fit` would refuse
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    seeds = len(getattr(model, "seeds", [0]))
    times_seeds = f" × {seeds} seeds = {parameters:,}" if seeds > 1 else ""
    task = f", {data.task!r}" if hasattr(data, "task") else ""
    epochs, steps = trainer.max_epochs, getattr(data, "steps_per_epoch", None)
    unlimited = epochs is None or epochs < 0
    details = data.describe() if hasattr(data, "describe") else {}
    lines = [
        f"model       {type(model).__name__}, {parameters // seeds:,} parameters{times_seeds}",
        f"data        {type(data).__name__}{task}",
        *(f"{name:<12}{text}" for name, text in details.items()),
        f"epochs      {'no limit' if unlimited else format(epochs, ',')}",
    ]
    if steps is not None:
        limits = [] if unlimited else [steps * epochs]
        limits += [trainer.max_steps] if trainer.max_steps >= 0 else []
        in_all = f", {min(limits):,} in all" if limits else ""
        lines.append(f"steps       {steps:,} an epoch{in_all}")
    lines.append(f"devices     {trainer.world_size} × {type(trainer.accelerator).__name__}")
    return "\n".join(lines)
