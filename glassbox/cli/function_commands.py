"""Subcommands that are one function each; its parameters are the options."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from jsonargparse import ActionYesNo, ArgumentParser

from glassbox.cli.class_lookup import import_object
from glassbox.cli.error_messages import UsageError
from glassbox.cli.subcommands import FUNCTIONS, SUBCOMMANDS
from glassbox.cli.warning_filters import silence_harmless_warnings

_POSITIONAL = "positional"


class _FunctionParser(ArgumentParser):
    """Options of a function: booleans are switches; the first may be given without its name."""

    def __init__(self, name: str) -> None:
        function = import_object(FUNCTIONS[name])
        self.first, parameter = next(iter(inspect.signature(function).parameters.items()))
        super().__init__(
            prog=f"lightning {name}", description=SUBCOMMANDS[name], exit_on_error=False
        )
        self.allow_abbrev = False
        self.add_argument(
            _POSITIONAL,
            nargs="*" if "list" in str(parameter.annotation) else "?",
            metavar=self.first.upper(),
            help=f"the same as --{self.first}",
        )
        self.add_function_arguments(function, as_group=False)

    def add_argument(self, *names: str, **options: Any) -> Any:
        """Add an option; called for every parameter of the function."""
        if options.get("type") is bool:
            kept = {key: options[key] for key in ("default", "help")}
            options = {"action": ActionYesNo, **kept}
        elif names[0] == f"--{self.first}":
            options.pop("required", None)
        return super().add_argument(*names, **options)


def run_function(arguments: Sequence[str]) -> None:
    """Run a subcommand that is one function, and print what it returns."""
    silence_harmless_warnings()
    result = import_object(FUNCTIONS[arguments[0]])(**function_settings(arguments))
    if result is not None:
        print(result)


def function_settings(arguments: Sequence[str]) -> dict[str, Any]:
    """Keyword arguments that a command line gives to the function of its subcommand."""
    name, *options = arguments
    parser = _FunctionParser(name)
    settings = parser.parse_args(options).as_dict()
    positional = settings.pop(_POSITIONAL)
    if positional:
        settings[parser.first] = positional
    if settings[parser.first] is None:
        raise UsageError(f"--{parser.first} is missing; see lightning {name} --help")
    return settings
