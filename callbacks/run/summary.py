"""RunSummary: how a run ended, on the terminal and in results.json."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from callbacks.run.summary_table import summary_table
from callbacks.sweep import differing_settings
from callbacks.trainer_state import is_fitting, run_folder
from glassbox.metrics.quantiles import censored_quantile
from glassbox.versions import package_versions


class RunSummary(L.Callback):
    """Closes a run: a table on the terminal, ``results.json``, TensorBoard's hyper-parameter tab.

    It collects the module's ``scores()`` and every callback's ``results``: all of them stand in
    ``results.json``, and a callback's ``summary_metrics`` in the table. Settings in which members differ
    beside their seed (train fraction, sampling, exponent) stand in ``results.json`` under
    ``member_settings``, a value for each, and of one such setting the table has a column for every
    value.

    Args:
        table: Print the table.
    """

    def __init__(self, table: bool = True) -> None:
        self.table = table
        self._started = self._seconds = 0.0
        self._first_step = 0
        self._trained = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._trained = True
        self._started = time.perf_counter()
        self._first_step = trainer.global_step

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._seconds = time.perf_counter() - self._started

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Here and not in on_train_end, so that every probe has measured, whatever the order.
        if not self._trained:  # resumed where a run had ended
            if trainer.is_global_zero:
                print(
                    f"nothing to train: the checkpoint is at step {trainer.global_step:,}, where "
                    f"the run ends; raise trainer.max_steps or trainer.max_epochs"
                )
            return
        self._trained = False
        self._close(trainer, pl_module, self._seconds, trainer.global_step - self._first_step)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not is_fitting(trainer):
            self._close(trainer, pl_module)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._close(trainer, pl_module)

    def _close(
        self, trainer: L.Trainer, module: Any, seconds: float | None = None, steps: int = 0
    ) -> None:
        if not hasattr(module, "scores"):
            return
        scores = module.scores()  # by all ranks, which may have to add theirs up
        if not trainer.is_global_zero:
            return
        metrics = {name: as_list(value) for name, value in scores.items()}
        shown = getattr(module, "summary_metrics", ("train/accuracy", "test/accuracy"))
        summary_metrics = [name for name in shown if name in metrics]
        if any(metrics.get("data/leak_fraction", [])):
            summary_metrics += ["test/accuracy_clean", "data/leak_fraction"]
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks:
            results = getattr(callback, "results", {})
            metrics.update({name: as_list(value) for name, value in results.items()})
            summary_metrics += getattr(callback, "summary_metrics", []) if results else []
        folder = run_folder(trainer)
        config = _config_of(folder)
        differing = differing_settings(trainer, module)
        results = {
            "name": folder.parent.name if folder else None,
            "config": config,
            "seeds": list(getattr(module, "seeds", [])),
            **({"member_settings": differing} if differing else {}),
            "metrics": metrics,
            "versions": package_versions(),
            "wall_time_seconds": seconds,
            "steps_per_second": steps / seconds if seconds else None,
        }
        if folder is not None:
            name = "results.json"
            if not is_fitting(trainer) and (folder / name).exists():  # a fit's, in a notebook
                name = f"results_{trainer.state.fn and trainer.state.fn.value!s}.json"
            write_json(folder / name, plain(results))
            _fill_hyperparameter_tab(trainer, config, metrics, summary_metrics)
        if self.table:
            print(summary_table(metrics, summary_metrics, len(results["seeds"]), differing))
            if seconds is not None:
                print(f"{seconds:,.0f} s, {steps / seconds:,.3g} optimizer steps per second")
            if folder is not None:
                print(f"run folder: {folder}")


def as_list(values: Tensor | list[str]) -> list[float | None] | list[str]:
    """One plain value per seed; None where there is none (nan, infinity)."""
    if not isinstance(values, Tensor):
        return list(values)
    return [value if math.isfinite(value) else None for value in values.flatten().tolist()]


def write_json(path: Path, content: Any) -> None:
    """Write a file that is either complete or not there."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    os.replace(partial, path)


def plain(value: Any) -> Any:
    """What JSON can hold: numbers that are none of it (infinity, nan) and dates become text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _config_of(folder: Path | None) -> dict[str, Any]:
    """The resolved configuration that the command line saved; empty in a notebook."""
    if folder is None or not (folder / "config.yaml").is_file():
        return {}
    loaded = yaml.safe_load((folder / "config.yaml").read_text())
    return loaded if isinstance(loaded, dict) else {}


def _fill_hyperparameter_tab(
    trainer: L.Trainer,
    config: dict[str, Any],
    metrics: dict[str, list[Any]],
    summary_metrics: list[str],
) -> None:
    """Settings and final medians in TensorBoard's hyper-parameter tab, to compare heads by."""
    settings = {
        name: value
        for section in ("model", "data")
        for name, value in flatten(config.get(section, {}), section).items()
        if isinstance(value, str | int | float | bool)
    }
    finals = {
        f"final/{name}": censored_quantile(metrics[name], 0.5)
        for name in summary_metrics
        if metrics[name] and not isinstance(metrics[name][0], str)
    }
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(settings, finals)


def flatten(tree: Any, prefix: str) -> dict[str, Any]:
    """{'model': {'init_args': {'lr': 1}}} as {'model.lr': 1}; lists stay whole."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat = {}
    for key, value in tree.items():
        name = prefix if key in ("class_path", "init_args") else f"{prefix}.{key}"
        if key != "init_args" or value:
            flat.update(flatten(value, name))
    return flat
