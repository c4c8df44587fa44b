"""Lightning's command line with Glassbox's defaults, run folders and checkpoints."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import warnings
from collections.abc import Sequence
from typing import Any

import lightning as L
from jsonargparse import ArgumentParser, capture_parser
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

# Importing the packages registers their classes by short name.
import datamodules  # noqa: F401
import lightning_modules  # noqa: F401
from callbacks import (
    ExactResume,
    GracefulStop,
    PredictionTable,
    RunCheckpoint,
    RunProgress,
    RunSummary,
)
from callbacks.run.folder import run_folder_loggers
from callbacks.trainer_state import run_folder
from glassbox.cli.argv import parse
from glassbox.cli.checkpoints import find_checkpoint
from glassbox.cli.commands.check import describe_run, dry_run_settings
from glassbox.cli.error_messages import UsageError
from glassbox.cli.launch import check_launch, cluster_plugins, planned_launch
from glassbox.cli.warning_filters import silence_harmless_warnings

# Lightning's advertisement on every run; following it can overwrite our `lightning` script.
for _name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
    logging.getLogger(_name).addFilter(lambda record: "💡" not in record.getMessage())

# What the data module determines and the model needs.
_FROM_DATA = (
    "vocab_size",
    "num_inputs",
    "context_length",
    "num_classes",
    "num_features",
    "num_values",
)


class _Trainer(L.Trainer):
    """Lightning's trainer; `check` and `prepare` have the options of `fit`."""

    check = prepare = L.Trainer.fit


class _RemoveFailedStart(L.Callback):
    """Remove the run's folder if an error ends the run before its first step."""

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        failed = isinstance(exception, Exception) and trainer.global_step == 0
        folder = run_folder(trainer) if failed and trainer.is_global_zero else None
        if folder is not None and folder.name.startswith("version_"):
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # the run's name has other versions
                folder.parent.rmdir()


class GlassboxCLI(LightningCLI):
    """Lightning's command line; only the parser of the subcommand that is run is built."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.command = arguments[0]
        self.stop = GracefulStop()
        super().__init__(
            L.LightningModule,
            L.LightningDataModule,
            trainer_class=_Trainer,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={
                "use_distributed_sampler": False,
                "devices": 1,
                "callbacks": [self.stop, ExactResume(), PredictionTable(), _RemoveFailedStart()],
            },
            args=[*arguments],
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The subcommand that is run, and the arguments of its method that are not options."""
        skipped = {"model", "datamodule", "dataloaders", "train_dataloaders", "val_dataloaders"}
        return {self.command: skipped}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser that raises its errors and does not complete abbreviated options."""
        parser = super().init_parser(**kwargs, exit_on_error=False)
        parser.allow_abbrev = False
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks of every run and the sizes that a model takes from its data."""
        self.subparser = parser
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.add_lightning_class_args(RunProgress, "progress")
        parser.add_lightning_class_args(RunSummary, "summary")
        for name in _FROM_DATA:
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the command line, and take ``ckpt_path`` from the config.

        With it, Lightning would let the checkpoint's settings override the config's.
        """
        assert isinstance(args, list)
        self.config = parse(parser.parse_args, args)
        config = self.config[self.command]
        seed = config.seed_everything
        if isinstance(seed, bool) or not 0 <= seed < 2**32:  # True would mean a random seed
            raise UsageError(f"seed_everything is {seed}; it must be from 0 to {2**32 - 1}")
        self.ckpt_path, config.ckpt_path = config.ckpt_path, None

    def before_instantiate_classes(self) -> None:
        """Check the launcher's processes, and find the checkpoint that is asked for."""
        config = self.config[self.command]
        self.launch = planned_launch(config.trainer)
        check_launch(self.launch, os.environ, starts=self.command != "check")
        config.ckpt_path = self.ckpt_path
        training = self.command in ("fit", "check")
        config.ckpt_path = find_checkpoint(self._run_name(), config.as_dict(), training)
        init_from = config.model.get("init_args", {}).get("init_from")
        if config.ckpt_path and init_from:
            config.model.init_args.init_from = None  # its folder may have been deleted
        elif not (config.ckpt_path or init_from or training):
            warnings.warn("no --ckpt_path is given: this is the untrained model", stacklevel=1)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Build the trainer; claim the run's folder if it is to write."""
        trainer = self.config_init[self.command].trainer
        if trainer.barebones:
            raise UsageError("trainer.barebones is for notebooks; set it to false")
        # Lightning refuses a callback whose kind is switched off.
        if trainer.enable_progress_bar is False:
            self.subparser.callback_keys.remove("progress")
        if trainer.enable_checkpointing is False:
            self.subparser.callback_keys.remove("checkpoint")
        # The folder is claimed when everything else is built, so that an error leaves none; it is
        # not part of the saved config, so that the same config can be run again.
        writes = not trainer.fast_dev_run and self.command != "check"
        if trainer.logger in (None, True) and writes:
            root = trainer.default_root_dir or "runs"
            kwargs["logger"] = run_folder_loggers(root, self._run_name())
        if trainer.logger is False:
            self.save_config_callback = None
        if self.command == "check":
            kwargs |= dry_run_settings(self.launch, trainer)
        else:
            kwargs["plugins"] = cluster_plugins(trainer, os.environ)
        return super().instantiate_trainer(**kwargs)

    def _run_name(self) -> str:
        """The config file's name; of a run's saved config, the run's name."""
        files = self.config[self.command].get("config") or []
        path = os.path.abspath(str(files[0])) if files else "run"
        saved = re.search(r"([^/\\]+)[/\\]version_\d+[/\\]config\.yaml$", path)
        return saved.group(1) if saved else os.path.splitext(os.path.basename(path))[0]

    def check(self, model: L.LightningModule, datamodule: Any, **_: Any) -> None:
        """Print what `fit` would train."""
        print(describe_run(self.trainer, model, datamodule, self.launch))

    def after_fit(self) -> None:
        """Exit with the code of the signal that stopped the run, if one did."""
        if code := self.stop.exit_code(self.trainer):
            raise SystemExit(code)


def run(arguments: Sequence[str]) -> GlassboxCLI:
    """Parse, build and run one of Lightning's subcommands or `check`."""
    silence_harmless_warnings()
    return GlassboxCLI(arguments)


def build_parser(command: str = "fit") -> ArgumentParser:
    """The parser of a subcommand, which builds and runs nothing."""
    return capture_parser(lambda: GlassboxCLI([command]))
