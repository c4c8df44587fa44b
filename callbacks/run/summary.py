"""RunSummary: the results of a run, on the terminal and in results.json."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from callbacks.run.checkpoint_io import write_json
from callbacks.run.summary_table import summary_table
from callbacks.sweep import differing_settings
from callbacks.trainer_state import is_fitting, run_folder
from glassbox.metrics.quantiles import censored_quantile
from glassbox.versions import package_versions


class RunSummary(L.Callback):
    """Write ``results.json``, print a summary table and fill TensorBoard's hyper-parameter tab.

    The metrics are those of the module's ``scores()`` and of every callback's ``results``. All of
    them are written to ``results.json``; the table shows those that the module and the callbacks
    list in ``summary_metrics``. Settings other than the seed in which members differ (train
    fraction, sampling, exponent) are in ``results.json`` under ``member_settings``, one value per
    member. If there is one such setting, the table has a column for each of its values.

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
        # Not in on_train_end, where probes that come later in the list have yet to measure.
        if not self._trained:  # resumed from the end of a run
            if trainer.is_global_zero:
                print(
                    f"nothing to train: the checkpoint is already at the last step "
                    f"({trainer.global_step:,}); raise trainer.max_steps or trainer.max_epochs"
                )
            return
        self._trained = False
        self._summarize(trainer, pl_module, self._seconds, trainer.global_step - self._first_step)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not is_fitting(trainer):
            self._summarize(trainer, pl_module)

    on_test_end = on_validation_end

    def _summarize(
        self, trainer: Any, module: Any, seconds: float | None = None, steps: int = 0
    ) -> None:
        if not hasattr(module, "scores"):
            return
        scores = module.scores()  # on all ranks, because they may have to be reduced
        if not trainer.is_global_zero:
            return
        metrics = {name: as_list(value) for name, value in scores.items()}
        shown = getattr(module, "summary_metrics", ("train/accuracy", "test/accuracy"))
        summary_metrics = [name for name in shown if name in metrics]
        if any(metrics.get("data/leak_fraction", [])):
            summary_metrics += ["test/accuracy_clean", "data/leak_fraction"]
        for callback in trainer.callbacks:
            results = getattr(callback, "results", {})
            metrics.update({name: as_list(value) for name, value in results.items()})
            summary_metrics += getattr(callback, "summary_metrics", []) if results else []
        folder = run_folder(trainer)
        config = _saved_config(folder)
        differing = differing_settings(trainer, module)
        seeds = list(getattr(module, "seeds", []))
        results = {
            "name": folder.parent.name if folder else None,
            "config": config,
            "seeds": seeds,
            **({"member_settings": differing} if differing else {}),
            "metrics": metrics,
            "versions": package_versions(),
            "wall_time_seconds": seconds,
            "steps_per_second": steps / seconds if seconds else None,
        }
        if folder is not None:
            name = "results.json"
            if not is_fitting(trainer) and (folder / name).exists():  # a fit's, in a notebook
                name = f"results_{trainer.state.fn.value}.json"
            write_json(folder / name, to_plain(results))
            _log_hyperparameters(trainer, config, metrics, summary_metrics)
        if self.table:
            print(summary_table(metrics, summary_metrics, len(seeds), differing))
            if seconds is not None:
                print(f"{seconds:,.0f} s, {steps / seconds:,.3g} optimizer steps per second")
            if folder is not None:
                print(f"run folder: {folder}")


def as_list(values: Tensor | list[str]) -> list[float | None] | list[str]:
    """One plain value per seed; None for nan and infinity."""
    if not isinstance(values, Tensor):
        return list(values)
    return [value if math.isfinite(value) else None for value in values.flatten().tolist()]


def to_plain(value: Any) -> Any:
    """A copy that JSON can store: nan, infinity, dates and other objects become text."""
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _saved_config(folder: Path | None) -> dict[str, Any]:
    """The resolved configuration that the command line saved; empty in a notebook."""
    if folder is None or not (folder / "config.yaml").is_file():
        return {}
    config = yaml.safe_load((folder / "config.yaml").read_text())
    return config if isinstance(config, dict) else {}


def _log_hyperparameters(
    trainer: Any, config: dict[str, Any], metrics: dict[str, list[Any]], names: list[str]
) -> None:
    """Write settings and final medians to TensorBoard's hyper-parameter tab."""
    settings = {
        name: value
        for section in ("model", "data")
        for name, value in flatten(config.get(section, {}), section).items()
        if isinstance(value, str | int | float | bool)
    }
    medians = {
        f"final/{name}": censored_quantile(metrics[name], 0.5)
        for name in names
        if metrics[name] and not isinstance(metrics[name][0], str)
    }
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(settings, medians)


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
