"""Lightning's command line, with what Glassbox adds to it and changes of it."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

# Importing the packages makes their classes known by their short names.
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
from glassbox.cli.argv import parse
from glassbox.cli.checkpoints import checkpoint_to_load
from glassbox.cli.class_lookup import import_object
from glassbox.cli.commands.check import describe_run, dry_run_settings
from glassbox.cli.error_messages import UsageError
from glassbox.cli.launch import check_launch, cluster_plugins, planned_launch
from glassbox.cli.warning_filters import silence_harmless_warnings

# Lightning's advertisement on every run; following it can overwrite our `lightning` script.
for _name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
    logging.getLogger(_name).addFilter(lambda record: "💡" not in record.getMessage())


class GlassboxCLI(LightningCLI):
    """Lightning's command line with Glassbox's defaults, run folders and checkpoints."""

    command = "fit"  # what was typed; check and prepare are parsed as a fit

    def __init__(self, args: ArgsType = None) -> None:
        super().__init__(
            L.LightningModule,
            L.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={
                "use_distributed_sampler": False,
                "devices": 1,
                "callbacks": [PredictionTable()],
            },
            args=args,
        )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        # Errors come back as exceptions, for main() to put into one sentence.
        parser = super().init_parser(**kwargs, exit_on_error=False)
        parser.allow_abbrev = False  # --trainer.max_epoch is a slip, not a short form
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        # Lightning warns when args are given beside sys.argv; main() always gives them.
        self.config = parse(parser.parse_args, args)
        seed = self.config[self.config.subcommand].seed_everything
        if isinstance(seed, bool) or not 0 <= seed < 2**32:  # true would mean 0, not random
            raise UsageError(f"seed_everything is {seed}; it must be from 0 to {2**32 - 1}")

    def instantiate_classes(self) -> None:
        if self.command == "resolve":
            return
        if self.command != "prepare":
            self.launch = planned_launch(self.config[self.subcommand].trainer)
            check_launch(self.launch, os.environ, starts=self.command != "check")
            super().instantiate_classes()
            return
        # Of a whole run's config the data alone: there is nothing yet to build a model for.
        data = self.config[self.subcommand].data
        cls = import_object(data.class_path)
        if not hasattr(cls, "prepare"):
            raise UsageError(f"{cls.__name__} needs no preparation; go on with lightning fit")
        print(cls(**data.init_args.as_dict()).prepare())
        raise SystemExit(0)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.add_lightning_class_args(RunProgress, "progress")
        parser.add_lightning_class_args(RunSummary, "summary")
        for name in (
            "vocab_size",
            "num_inputs",
            "context_length",
            "num_classes",
            "num_features",
            "num_values",
        ):
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")

    def _parse_ckpt_path(self) -> None:
        # Lightning would let the checkpoint's settings override the config and the command
        # line. Here a config means what it says, and a checkpoint of another model is refused.
        config = self.config[self.config.subcommand]
        if self.command in ("prepare", "resolve"):
            return
        self.subcommand = self.config.subcommand
        path = checkpoint_to_load(self.subcommand, self._run_name(), config.as_dict())
        start = config.model.get("init_args", {}).get("init_from")  # weights of Hugging Face's
        config.ckpt_path = path
        if path and start:
            config.model.init_args.init_from = None  # its folder may be gone by now
        elif not (path or start) and self.subcommand in ("validate", "test", "predict"):
            warnings.warn("no --ckpt_path is given: this is the untrained model", stacklevel=1)

    def _instantiate_trainer(self, config: dict[str, Any], extra: list[Any]) -> Any:
        # Lightning refuses a callback whose kind is switched off; ours are always in the list.
        for switch, kind in (
            ("enable_progress_bar", ProgressBar),
            ("enable_checkpointing", Checkpoint),
        ):
            if config.get(switch) is False:
                extra = [callback for callback in extra if not isinstance(callback, kind)]
        # The folder is claimed when everything else is built, so that what cannot be built
        # leaves none, and not written into the saved config, so that it can be run again.
        if config["barebones"]:
            raise UsageError("trainer.barebones is for notebooks; a command logs and saves")
        writes = not config["fast_dev_run"] and self.command != "check"
        if config["logger"] in (None, True) and writes:
            root = config["default_root_dir"] or "runs"
            config["logger"] = run_folder_loggers(root, self._run_name())
        if config["logger"] is False:
            self.save_config_callback = None
        if self.command == "check":
            config.update(dry_run_settings(self.launch, config))
        else:
            config["plugins"] = cluster_plugins(config, os.environ)
        self.stop = GracefulStop()
        extra = [*extra, self.stop, ExactResume()]
        return super()._instantiate_trainer(config, extra)

    def _run_subcommand(self, subcommand: str) -> None:
        if self.command != "resolve":
            super()._run_subcommand(subcommand)

    def _run_name(self) -> str:
        """The config file's name; of a run's saved config, the run's name."""
        files = self.config[self.subcommand].get("config") or []
        path = os.path.abspath(str(files[0])) if files else "run"
        saved = re.search(r"([^/\\]+)[/\\]version_\d+[/\\]config\.yaml$", path)
        return saved.group(1) if saved else os.path.splitext(os.path.basename(path))[0]

    def before_fit(self) -> None:
        if self.command == "check":
            run = (self.trainer, self.model, self.datamodule, self.launch)
            print(describe_run(*run))
            raise SystemExit(0)

    def after_fit(self) -> None:
        if code := self.stop.exit_code(self.trainer):
            raise SystemExit(code)


def run(arguments: Sequence[str]) -> GlassboxCLI:
    """Parse, build and run one subcommand; returns the command line object, for tests."""
    arguments = list(arguments)
    command = arguments[0]
    if command in ("check", "prepare", "resolve"):  # resolve only parses, for `reproduce`
        arguments[0] = "fit"
    silence_harmless_warnings()
    GlassboxCLI.command = command
    return GlassboxCLI(args=arguments)
