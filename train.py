"""Glassbox's command line: `lightning fit --config configs/x.yaml` and its neighbours."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import os
import pickle
import re
import sys
import traceback
import warnings
from argparse import ArgumentError
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
        versions = ", ".join(f"{name} {_version(name)}" for name in ("lightning", "torch"))
        print(f"glassbox {_version('glassbox')} ({versions})")
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
        debug = os.environ.get("GLASSBOX_DEBUG")
        sentence = None if debug else user_sentence(error, _config_file(arguments))
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
    _silence_harmless_warnings()
    cli_class.only_check = only_check
    return cli_class(args=arguments)


def _silence_harmless_warnings() -> None:
    for harmless in (
        "LeafSpec",  # Lightning 2.6 on torch 2.13: a rename inside torch's pytree
        "Experiment logs directory .* exists and is not empty",  # we made it, to claim its name
        "The dirpath has changed from",  # a resumed run has a folder of its own
        "smaller than the logging interval",  # one batch is an epoch of many steps
    ):
        warnings.filterwarnings("ignore", message=f".*{harmless}.*")
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="jsonargparse")


@functools.cache
def command_line_class() -> Any:
    """The LightningCLI subclass. Made on the first call, since its base takes seconds to import."""
    import logging

    import lightning as L
    from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
    from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

    # Importing the packages makes their classes known by their short names.
    import callbacks
    import datamodules  # noqa: F401
    import lightning_modules  # noqa: F401

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
                trainer_defaults={
                    "use_distributed_sampler": False,
                    "callbacks": [callbacks.PredictionTable()],
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

        def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Any:
            # Lightning refuses a callback whose kind is switched off; ours are always in the list.
            for switch, kind in (
                ("enable_progress_bar", ProgressBar),
                ("enable_checkpointing", ModelCheckpoint),
            ):
                if config.get(switch) is False:
                    callbacks = [c for c in callbacks if not isinstance(c, kind)]
            return super()._instantiate_trainer(config, callbacks)

        def before_instantiate_classes(self) -> None:
            self._use_run_folder(self.config[self.subcommand])

        def _use_run_folder(self, config: Any) -> None:
            """Log to runs/<config's name>/version_N/, the same N for every logger."""
            trainer = config.trainer
            if trainer.logger not in (None, True) or trainer.fast_dev_run or self.only_check:
                return
            files = config.get("config") or []
            name = os.path.splitext(os.path.basename(str(files[0])))[0] if files else "run"
            trainer.logger = callbacks.run_folder_loggers(trainer.default_root_dir or "runs", name)

        def before_fit(self) -> None:
            if self.only_check:
                print(callbacks.describe_run(self.trainer, self.model, self.datamodule))
                raise SystemExit(0)

    return GlassboxCLI


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def user_sentence(error: Exception, config: str = "the config file") -> str | None:
    """One sentence for an error that the user can mend; None for one that is ours.

    A ValueError counts as the user's where Glassbox itself raised it; other exceptions where they
    are what a wrong file, key or value leads to.

    Args:
        error: What was raised.
        config: Name of the config file, for messages about a key in it.
    """
    message = str(error)
    if isinstance(error, ArgumentError):
        return explain_parser_error(message, config)
    if isinstance(error, FileNotFoundError):
        return f"there is no file {error.filename!r}" if error.filename else message
    if isinstance(error, pickle.UnpicklingError) or "PytorchStreamReader" in message:
        return "the checkpoint is damaged, or no checkpoint at all; use another with --ckpt_path"
    if "Error(s) in loading state_dict" in message:
        return (
            "the checkpoint does not fit this config (another network, head, task or number of "
            "seeds); use the config.yaml of the run's folder: " + " ".join(message.split())[:300]
        )
    if type(error).__name__ == "MisconfigurationException":
        return " ".join(message.split())
    if isinstance(error, ValueError) and "Union subtypes" in message:
        return explain_parser_error(message, config)
    if isinstance(error, ValueError | TypeError) and _raised_by_us(error):
        return message
    return None


def _raised_by_us(error: Exception) -> bool:
    """Whether the innermost frame is Glassbox's, or Lightning's check of trainer settings."""
    frames = traceback.extract_tb(error.__traceback__)
    place = frames[-1].filename if frames else ""
    ours = os.path.dirname(os.path.abspath(__file__))
    return os.path.dirname(place).startswith(ours) or "lightning/pytorch/trainer" in place


def explain_parser_error(message: str, config: str = "the config file") -> str:
    """jsonargparse's nested report as one sentence that names the key and the nearest name.

    Raises nothing: what it does not recognise comes back in the parser's own words, on one line.
    """
    keys = re.findall(r'Parser key "([\w.]+)"', message)
    key = ".".join(keys)
    # Values from the command line reach the parser as NestedArg or str, those of a file as dict.
    in_file = re.search(r"Given value type: <class '(dict|list)'>", message)
    source = f" (in {config})" if in_file else ""
    if match := re.search(r"[Oo]ption '(\S+?)' is not accepted", message):
        return _explain_option(match.group(1), key, message, source)
    if match := re.search(r"does not accept option '(\S+)'|unrecognized arguments: (\S+)", message):
        name = match.group(1) or match.group(2)
        if not (match.group(1) or name.startswith("--")):
            return f"{name!r} stands alone; options are written --key value"
        return f"there is no key {name.lstrip('-')!r}" + _nearest(name.lstrip("-"), _known_keys())
    if match := re.search(r"dot import path string: (\S+)|a path but (\S+) either", message):
        name = match.group(1) or match.group(2)
        known = _known_classes(key)
        return (
            f"{key or 'the config'}: there is no class {name!r}{_nearest(name, known)}; known "
            f"here: {', '.join(known)} (or the full path of your own)"
        )
    if match := re.search(r"Literal\[(.+?)\]\. Got value: (.+)", message):
        return f"{key} is {match.group(2)!r}; it must be one of {match.group(1)}"
    if match := re.search(r"Expected a <class '(\w+)'>\. Got value: (.+)", message):
        return f"{key} is {match.group(2)!r}; it must be {match.group(1)}{source}"
    if types := re.findall(r"Expected a <class '(\w+)'>", message):
        given = re.search(r"Given value: (.+)", message)
        wanted = " or ".join(dict.fromkeys("null" if t == "NoneType" else t for t in types))
        sentences = [
            line.strip(" -")
            for line in message.splitlines()
            if line.lstrip().startswith("- ") and "Expected a" not in line
        ]
        if sentences and not keys:  # an error raised by the class itself, when it was built
            return sentences[0]
        return f"{key} is {given.group(1) if given else '?'!r}; it must be {wanted}{source}"
    if match := re.search(r"File does not exist: '(.+)'", message):
        return f"there is no config file {os.path.relpath(match.group(1))!r}"
    if "arguments are required" in message:
        return "no model and no data are given; name a config: --config configs/quickstart.yaml"
    if "Unexpected config" in message:
        return f"{config} is empty or holds no keys"
    if "Problems parsing config" in message:
        place = re.findall(r"line (\d+), column (\d+)", message)
        where = f" near line {place[-1][0]}, column {place[-1][1]}" if place else ""
        return f"{config} is no valid YAML{where}"
    return " ".join(message.split())


def _explain_option(option: str, key: str, message: str, source: str) -> str:
    """A key that a class does not have."""
    before, _, after = message.partition(f"'{option}' is not accepted")
    paths = re.findall(r"class_path='([\w.]+)'", after.split("Given value")[0])
    paths = paths or re.findall(r"class_path '([\w.]+)'", before)
    known: list[str] = []
    if paths:
        module, _, name = paths[-1].rpartition(".")
        signature = inspect.signature(getattr(importlib.import_module(module), name))
        known = [parameter for parameter in signature.parameters if parameter != "self"]
    owner = paths[-1].rpartition(".")[2] if paths else key
    return (
        f"{key}: {owner} has no option {option!r}{source}{_nearest(option, known)}; its options "
        f"are {', '.join(known) or 'none'}"
    )


def _nearest(name: str, known: Sequence[str]) -> str:
    """A suggestion, or nothing where no name is near."""
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def _known_classes(key: str) -> list[str]:
    """Short class names that fit a key such as model.head."""
    import callbacks
    import datamodules
    import lightning_modules

    package, base = {
        "model": (lightning_modules, "LightningModule"),
        "data": (datamodules, "LightningDataModule"),
        "head": (lightning_modules, "LossHead"),
        "network": (lightning_modules, "FeatureNetwork"),
        "task": (datamodules, "Task"),
    }.get(key.rpartition(".")[2], (callbacks, "Callback"))
    exported = {name: getattr(package, name) for name in package.__all__}
    classes = {name: value for name, value in exported.items() if isinstance(value, type)}
    excluded = {base, "Probe", "Ensemble", "NetworkWithHead"}
    return [
        name
        for name, cls in classes.items()
        if name not in excluded and base in {parent.__name__ for parent in cls.__mro__}
    ]


def _known_keys() -> list[str]:
    """Keys of the command line that belong to no exchangeable class."""
    from lightning import Trainer

    trainer = [f"trainer.{name}" for name in inspect.signature(Trainer.__init__).parameters]
    return [
        *trainer,
        "model",
        "data",
        "checkpoint",
        "progress",
        "summary",
        "seed_everything",
        "ckpt_path",
        "config",
        "print_config",
    ]


def _config_file(arguments: Sequence[str]) -> str:
    """The config file that was named, for messages."""
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word in ("--config", "-c"):
            return following
        if word.startswith("--config="):
            return word.partition("=")[2]
    return "the config file"


def _unknown_subcommand(arguments: Sequence[str]) -> str:
    if arguments[0].startswith("-"):
        named = [word for word in arguments if word in SUBCOMMANDS]
        example = named[0] if named else "fit"
        return f"the subcommand comes first: lightning {example} {arguments[0]} ..."
    return (
        f"there is no subcommand {arguments[0]!r}{_nearest(arguments[0], list(SUBCOMMANDS))}; "
        f"choose one of {', '.join(SUBCOMMANDS)}"
    )


def _exit_with(sentence: str) -> None:
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
