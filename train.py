"""Glassbox's command line: `lightning fit --config configs/x.yaml` and its neighbours."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch.cli import LightningCLI

# Nothing heavy is imported up here: importing LightningCLI takes 4.5 s of CPU, and `--help` and
# `--version` need none of it.

SUBCOMMANDS = {
    "fit": "train a model",
    "validate": "measure a checkpoint on the validation data, with every probe of the config",
    "test": "measure a checkpoint on the test data",
    "predict": "write a checkpoint's answers to predictions.csv",
    "check": "parse a config, build everything, count parameters and steps; no training",
}

OVERVIEW = """\
usage: lightning SUBCOMMAND --config FILE [--KEY VALUE ...]

Train models that can be read: any loss head, interpretability measured while training.

subcommands:
{subcommands}

options of every subcommand:
  --config FILE    a YAML file, one run each; see configs/
  --KEY VALUE      override any key of it, such as --model.head CrossEntropyHead
  --print_config   print the resolved configuration and stop
  --help           every key with a sentence about it

examples:
  lightning fit --config configs/quickstart.yaml
  lightning fit --config configs/modular_addition.yaml --model.head CrossEntropyHead
  lightning check --config configs/modular_addition.yaml
  lightning fit --model.help Classifier

`glassbox` is another name of this command. GLASSBOX_DEBUG=1 shows tracebacks.
"""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 2 and one sentence where the user can mend the matter."""
    arguments = list(sys.argv[1:] if args is None else args)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        lines = (f"  {name:<16} {text}" for name, text in SUBCOMMANDS.items())
        print(OVERVIEW.format(subcommands="\n".join(lines)), end="")
        return
    if arguments[0] in ("--version", "-V"):
        print(f"glassbox {_version('glassbox')} (lightning {_version('lightning')}, "
              f"torch {_version('torch')})")
        return
    try:
        if arguments[0] not in SUBCOMMANDS:
            raise UsageError(_unknown_subcommand(arguments))
        run(arguments)
    except UsageError as error:
        _exit_with(str(error))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        sentence = None if os.environ.get("GLASSBOX_DEBUG") else user_sentence(error)
        if sentence is None:
            raise
        _exit_with(sentence)


class UsageError(Exception):
    """Something that the user typed and can mend; the message is the whole sentence."""


def run(arguments: Sequence[str]) -> LightningCLI:
    """Parse, build and run one subcommand; returns the command line object, for tests."""
    arguments = list(arguments)
    only_check = arguments[0] == "check"
    if only_check:
        arguments[0] = "fit"
    cli_class = command_line_class()
    cli_class.only_check = only_check
    return cli_class(args=arguments)


@functools.cache
def command_line_class() -> Any:
    """The LightningCLI subclass. Made on the first call, since its base takes seconds to import."""
    import logging
    import warnings

    import lightning as L
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

    # Importing the packages makes their classes known by their short names.
    import callbacks
    import datamodules
    import lightning_modules  # noqa: F401

    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="jsonargparse")
    # Lightning's advertisement on every run; following it can overwrite our `lightning` script.
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(lambda record: "💡" not in record.getMessage())

    class GlassboxCLI(LightningCLI):
        only_check = False

        def __init__(self, args: ArgsType = None) -> None:
            super().__init__(
                L.LightningModule,
                L.LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                seed_everything_default=0,
                save_config_kwargs={"overwrite": True},
                trainer_defaults={"use_distributed_sampler": False, "accelerator": "auto"},
                args=args,
            )

        def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
            # Errors come back as exceptions, for main() to put into one sentence.
            return super().init_parser(**kwargs, exit_on_error=False)

        def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
            # Lightning warns when args are given beside sys.argv; main() always gives them.
            self.config = parser.parse_args(args)

        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
            parser.set_defaults(
                {
                    "checkpoint.filename": "epoch_{epoch}",
                    "checkpoint.auto_insert_metric_name": False,
                    "checkpoint.every_n_epochs": 500,
                    "checkpoint.save_top_k": 0,
                    "checkpoint.save_last": True,
                }
            )
            parser.add_lightning_class_args(callbacks.EpochProgress, "progress")
            parser.add_lightning_class_args(callbacks.RunSummary, "summary")
            for name in ("vocab_size", "num_tokens", "num_classes"):
                parser.link_arguments(
                    f"data.{name}", f"model.init_args.{name}", apply_on="instantiate"
                )

        def _parse_ckpt_path(self) -> None:
            # Lightning would let the checkpoint's settings override the config and the command
            # line. Here a config means what it says: resume = the same YAML and --ckpt_path.
            path = self.config[self.config.subcommand].get("ckpt_path")
            if path and path not in ("best", "last", "hpc") and not os.path.isfile(path):
                raise UsageError(f"--ckpt_path {path}: there is no such file")

        def before_instantiate_classes(self) -> None:
            self._use_run_folder(self.config[self.subcommand])

        def _use_run_folder(self, config: Any) -> None:
            """Log to runs/<config's name>/version_N/, the same N for every logger."""
            trainer = config.trainer
            if trainer.logger not in (None, True) or trainer.fast_dev_run or self.only_check:
                return
            name = _run_name(config)
            root = trainer.default_root_dir or "runs"
            version = claim_version(os.path.join(root, name))
            trainer.logger = [
                {
                    "class_path": f"lightning.pytorch.loggers.{logger}",
                    "init_args": {"save_dir": root, "name": name, "version": version, **more},
                }
                for logger, more in (
                    ("TensorBoardLogger", {"default_hp_metric": False}),
                    ("CSVLogger", {}),
                )
            ]

        def before_fit(self) -> None:
            if self.only_check:
                print(describe_run(self))
                raise SystemExit(0)

    return GlassboxCLI


def describe_run(cli: LightningCLI) -> str:
    """What a config would train: model, parameters, data, steps."""
    model, data, trainer = cli.model, cli.datamodule, cli.trainer
    data.trainer = trainer
    trainer.strategy.connect(model)
    data.setup("fit")
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    seeds = len(getattr(model, "seeds", [0]))
    steps = getattr(data, "steps_per_epoch", None)
    lines = [
        f"model       {type(model).__name__}, {parameters // seeds:,} parameters"
        + (f" × {seeds} seeds = {parameters:,}" if seeds > 1 else ""),
        f"data        {type(data).__name__}"
        + (f", {data.task!r}" if hasattr(data, "task") else ""),
        f"epochs      {trainer.max_epochs:,}",
    ]
    if steps is not None:
        lines.append(f"steps       {steps:,} an epoch, {steps * trainer.max_epochs:,} in all")
    lines.append(f"devices     {trainer.world_size} × {trainer.accelerator.__class__.__name__}")
    return "\n".join(lines)


def _run_name(config: Any) -> str:
    """The run's name: that of its config file, or of its model."""
    files = config.get("config") or []
    if files:
        return os.path.splitext(os.path.basename(str(files[0])))[0]
    return config.model.class_path.rpartition(".")[2]


def claim_version(folder: str) -> int:
    """The next free version_N of a run, its folder made, so that two runs never share one."""
    os.makedirs(folder, exist_ok=True)
    taken = [re.fullmatch(r"version_(\d+)", name) for name in os.listdir(folder)]
    version = max((int(match.group(1)) for match in taken if match), default=-1) + 1
    while True:
        try:
            os.mkdir(os.path.join(folder, f"version_{version}"))
            return version
        except FileExistsError:  # taken by a run that started at the same moment
            version += 1


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def user_sentence(error):
    return None

def _unknown_subcommand(arguments):
    return "unknown"

def _exit_with(sentence: str) -> None:
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
