"""Glassbox's command line: `lightning fit --config configs/x.yaml` and its neighbours."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser
    from lightning.pytorch.cli import LightningCLI

# Nothing heavy is imported up here: importing LightningCLI takes 4.5 s of CPU, and `--help` and
# `--version` need none of it.

SUBCOMMANDS = {
    "fit": "train a model",
    "validate": "measure a checkpoint on the validation data, with every probe of the config",
    "test": "measure a checkpoint on the test data",
    "predict": "write a checkpoint's answers to predictions.csv",
    "prepare": "turn text into token shards, for a config whose data is text",
    "check": "parse a config, build everything, count parameters and steps; no training",
    "sample": "write text with a language model's checkpoint",
    "export": "write a language model's checkpoint as a Hugging Face folder",
    "compare": "draw the word parallelograms of several language models in one figure",
    "reproduce": "run a paper's figure or table, and put published and measured side by side",
}

# Subcommands that are a function each, whose arguments are their options. What such a function may
# not import, since packages do not import one another, it is handed by name.
FUNCTIONS = {
    "sample": "glassbox.cli.commands.sample.sample",
    "export": "glassbox.cli.commands.export.export",
    "compare": "glassbox.cli.commands.compare.compare",
    "reproduce": "reproduce.reproduce",
}
HANDED = {
    "load_model": "glassbox.cli.checkpoints.load_language_model",
    "choose_tokenizer": "glassbox.cli.checkpoints.choose_tokenizer",
    "load_tokenizer": "datamodules.tokens.tokenizers.load_tokenizer",
}

OVERVIEW = """\
usage: lightning SUBCOMMAND --config FILE [--KEY VALUE ...]

Train models that can be read: any loss head, interpretability measured while training.

subcommands:
{subcommands}

options of all but the last four:
  --config FILE    a YAML file, one run each; see configs/
  --KEY VALUE      override any key of it, such as --model.head CrossEntropyHead
  --print_config   print the resolved configuration and stop
of every subcommand:
  --help           every key with a sentence about it

examples:
  lightning fit --config configs/quickstart.yaml
  lightning fit --config configs/modular_addition.yaml --model.head CrossEntropyHead
  lightning check --config configs/modular_addition.yaml
  lightning prepare --config configs/gpt2_cpu.yaml --data.files 'texts/**/*.jsonl.gz'
  lightning sample --checkpoint runs/gpt2_cpu/version_0/checkpoints/last.ckpt --prompt 'The city'
  lightning fit --model.help Classifier
  lightning reproduce --list

`glassbox` is another name of this command. GLASSBOX_DEBUG=1 shows tracebacks.
"""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 2 and one sentence where the user can mend the matter."""
    arguments = list(sys.argv[1:] if args is None else args)
    # Before torch reads them: of 1,024 kernels each, texts of many lengths fill gigabytes.
    for cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(cache, "64")
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        lines = (f"  {name:<16} {text}" for name, text in SUBCOMMANDS.items())
        print(OVERVIEW.format(subcommands="\n".join(lines)), end="")
        return
    if arguments[0] in ("--version", "-V"):
        versions = ", ".join(f"{name} {_version(name)}" for name in ("lightning", "torch"))
        print(f"glassbox {_version('glassbox')} ({versions})")
        return
    if os.getcwd() not in sys.path:  # for classes of the user's own, by their full path
        sys.path.insert(0, os.getcwd())
    try:
        if arguments[0] not in SUBCOMMANDS:
            raise UsageError(_unknown_subcommand(arguments))
        (run_function if arguments[0] in FUNCTIONS else run)(arguments)
    except UsageError as error:
        _exit_with(str(error))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        if os.environ.get("GLASSBOX_DEBUG"):
            raise
        from glassbox.cli.error_messages import user_sentence

        known = _known_keys(arguments[0])
        sentence = user_sentence(error, arguments, _known_classes, known)
        if sentence is None:
            raise
        _exit_with(sentence)


class UsageError(Exception):
    """Something that the user typed and can mend; the message is the whole sentence."""


def run_function(arguments: Sequence[str]) -> Any:
    """Run a subcommand that is one function, and print what it returns."""
    _silence_harmless_warnings()
    function, settings = found(FUNCTIONS[arguments[0]]), function_settings(arguments)
    handed = {key: found(path) for key, path in _handed(function).items()}
    result = function(**settings, **handed)
    if result is not None:
        print(result)
    return result


def function_settings(arguments: Sequence[str]) -> dict[str, Any]:
    """What a subcommand that is a function is called with, as typed."""
    name, *options = arguments
    words = _spelled_out(options, found(FUNCTIONS[name]))
    return function_parser(name).parse_args(words).as_dict()


def function_parser(name: str) -> ArgumentParser:
    """The options of a subcommand that is a function."""
    from jsonargparse import ArgumentParser

    function = found(FUNCTIONS[name])
    parser = ArgumentParser(
        prog=f"lightning {name}", description=SUBCOMMANDS[name], exit_on_error=False
    )
    parser.allow_abbrev = False
    parser.add_function_arguments(function, skip=set(_handed(function)))
    return parser


def _spelled_out(options: Sequence[str], function: Callable[..., Any]) -> list[str]:
    """A first word without dashes is the first argument; `--list` alone means `--list true`."""
    parameters = inspect.signature(function).parameters
    switches = {f"--{name}" for name, p in parameters.items() if p.annotation in (bool, "bool")}
    spelled: list[str] = []
    for word, following in zip(options, [*options[1:], "--"], strict=False):
        if not word.startswith("-") and (not spelled or spelled[-1] == "true"):
            spelled.append(f"--{next(iter(parameters))}")
        spelled.append(word)
        if word in switches and following not in ("true", "false"):
            spelled.append("true")
    return spelled


def _handed(function: Callable[..., Any]) -> dict[str, str]:
    parameters = inspect.signature(function).parameters
    return {key: path for key, path in HANDED.items() if key in parameters}


def found(path: str) -> Any:
    """What a full name such as ``glassbox.cli.commands.compare.compare`` means."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def run(arguments: Sequence[str]) -> LightningCLI:
    """Parse, build and run one subcommand; returns the command line object, for tests."""
    arguments = list(arguments)
    command = arguments[0]
    if command in ("check", "prepare", "resolve"):  # resolve parses, for reproduce.py
        arguments[0] = "fit"
    cli_class = command_line_class()
    _silence_harmless_warnings()
    cli_class.command = command
    return cli_class(args=arguments)


def _silence_harmless_warnings() -> None:
    for harmless in (
        "LeafSpec",  # Lightning 2.6 on torch 2.13: a rename inside torch's pytree
        "Experiment logs directory .* exists and is not empty",  # we made it, to claim its name
        "The dirpath has changed from",  # a resumed run has a folder of its own
        "smaller than the logging interval",  # one batch is an epoch of many steps
        "Be aware that when using",  # ... ckpt_path, callbacks of the checkpoint should be there
        "sync_dist=True",  # what is logged has been summed over the ranks
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
            self.config = found("glassbox.cli.argv.parse")(parser.parse_args, args)
            seed = self.config[self.config.subcommand].seed_everything
            if isinstance(seed, bool) or not 0 <= seed < 2**32:  # true would mean 0, not random
                raise UsageError(f"seed_everything is {seed}; it must be from 0 to {2**32 - 1}")

        def instantiate_classes(self) -> None:
            if self.command == "resolve":
                return
            if self.command != "prepare":
                self.launch = callbacks.planned_launch(self.config[self.subcommand].trainer)
                callbacks.check_launch(self.launch, os.environ, starts=self.command != "check")
                super().instantiate_classes()
                return
            # Of a whole run's config the data alone: there is nothing yet to build a model for.
            data = self.config[self.subcommand].data
            cls = found(data.class_path)
            if not hasattr(cls, "prepare"):
                raise UsageError(f"{cls.__name__} needs no preparation; go on with lightning fit")
            print(cls(**data.init_args.as_dict()).prepare())
            raise SystemExit(0)

        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_lightning_class_args(callbacks.RunCheckpoint, "checkpoint")
            parser.add_lightning_class_args(callbacks.RunProgress, "progress")
            parser.add_lightning_class_args(callbacks.RunSummary, "summary")
            for name in ("vocab_size", "num_tokens", "num_classes", "num_features", "num_values"):
                parser.link_arguments(
                    f"data.{name}", f"model.init_args.{name}", apply_on="instantiate"
                )

        def _parse_ckpt_path(self) -> None:
            # Lightning would let the checkpoint's settings override the config and the command
            # line. Here a config means what it says, and a checkpoint of another model is refused.
            config = self.config[self.config.subcommand]
            if self.command in ("prepare", "resolve"):
                return
            self.subcommand = self.config.subcommand
            path = callbacks.checkpoint_to_load(self.subcommand, self._run_name(), config.as_dict())
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
                ("enable_checkpointing", ModelCheckpoint),
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
                config["logger"] = callbacks.run_folder_loggers(root, self._run_name())
            if config["logger"] is False:
                self.save_config_callback = None
            if self.command == "check":
                config.update(callbacks.dry_run_settings(self.launch, config))
            else:
                config["plugins"] = callbacks.cluster_plugins(config, os.environ)
            self.stop = callbacks.GracefulStop()
            extra = [*extra, self.stop, callbacks.ExactResume()]
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
                print(callbacks.describe_run(*run))
                raise SystemExit(0)

        def after_fit(self) -> None:
            if code := self.stop.exit_code(self.trainer):
                raise SystemExit(code)

    return GlassboxCLI


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _known_classes(key: str) -> list[str]:
    """Short class names that fit a key such as model.head."""
    import callbacks
    import datamodules
    import lightning_modules

    package, base = {
        "model": (lightning_modules, "LightningModule"),
        "data": (datamodules, "LightningDataModule"),
        "head": (lightning_modules, "LossHead"),
        "geometry": (lightning_modules, "LossHead"),
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


def _known_keys(command: str) -> list[str]:
    """Keys of the command line that belong to no exchangeable class."""
    if command in FUNCTIONS:
        return list(inspect.signature(found(FUNCTIONS[command])).parameters)
    from lightning import Trainer

    trainer = [f"trainer.{name}" for name in inspect.signature(Trainer.__init__).parameters]
    ours = ["model", "data", "checkpoint", "progress", "summary"]
    return [*trainer, *ours, "seed_everything", "ckpt_path", "config", "print_config"]


def _unknown_subcommand(arguments: Sequence[str]) -> str:
    if arguments[0].startswith("-"):
        named = [word for word in arguments if word in SUBCOMMANDS]
        example = named[0] if named else "fit"
        return f"the subcommand comes first: lightning {example} {arguments[0]} ..."
    near = difflib.get_close_matches(arguments[0], SUBCOMMANDS, n=1)
    suggestion = f"; did you mean {near[0]!r}?" if near else ""
    choices = ", ".join(SUBCOMMANDS)
    return f"there is no subcommand {arguments[0]!r}{suggestion}; choose one of {choices}"


def _exit_with(sentence: str) -> None:
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
