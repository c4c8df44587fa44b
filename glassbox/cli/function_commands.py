"""Subcommands that are one function each, whose arguments are their options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from glassbox.cli.class_lookup import import_object
from glassbox.cli.warning_filters import silence_harmless_warnings

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

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
    "reproduce": "glassbox.cli.commands.reproduce.reproduce",
}
HANDED = {
    "load_model": "glassbox.cli.checkpoints.load_language_model",
    "choose_tokenizer": "glassbox.cli.checkpoints.choose_tokenizer",
    "load_tokenizer": "datamodules.tokens.tokenizers.load_tokenizer",
}


def run_function(arguments: Sequence[str]) -> Any:
    """Run a subcommand that is one function, and print what it returns."""
    silence_harmless_warnings()
    function, settings = import_object(FUNCTIONS[arguments[0]]), function_settings(arguments)
    handed = {key: import_object(path) for key, path in _handed(function).items()}
    result = function(**settings, **handed)
    if result is not None:
        print(result)
    return result


def function_settings(arguments: Sequence[str]) -> dict[str, Any]:
    """What a subcommand that is a function is called with, as typed."""
    name, *options = arguments
    words = _spelled_out(options, import_object(FUNCTIONS[name]))
    return function_parser(name).parse_args(words).as_dict()


def function_parser(name: str) -> ArgumentParser:
    """The options of a subcommand that is a function."""
    from jsonargparse import ArgumentParser

    function = import_object(FUNCTIONS[name])
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
