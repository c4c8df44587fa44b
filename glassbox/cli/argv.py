"""Classes that are chosen on the command line, with their own defaults."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from glassbox.cli.class_lookup import resolve_class

# An option of a class that is itself an option of the model or the data: --model.head.exponent.
_NESTED_OPTION = re.compile(r"--(model|data)(?:\.init_args)?\.(\w+)((?:\.\w+)+)")


def rewrite_null_options(words: Sequence[str]) -> list[str]:
    """The words of a command line, with nested options set to null as jsonargparse reads them.

    It (4.53) turns the null of ``--model.head.exponent null`` into the text "None" and refuses it,
    but takes ``--model.head '{"init_args": {"exponent": null}}'``, which keeps the other options.

    Args:
        words: As typed; ``--option=null`` and ``--option null`` mean the same.
    """
    spelled: list[str] = []
    pending = [part for word in words for part in _split_option(word)]
    while pending:
        word = pending.pop(0)
        nested = _NESTED_OPTION.fullmatch(word)
        if nested and pending and pending[0] == "null":
            word, pending[0] = as_one_option(word, None)
        spelled.append(word)
    return spelled


def as_one_option(option: str, value: Any) -> tuple[str, str]:
    """``--model.head.exponent`` and its value as ``--model.head`` and what it sets of that class.

    Args:
        option: Of a class within the model or the data, or of one within that.
        value: Anything that JSON can hold.
    """
    section, name, *below = [word for word in option[2:].split(".") if word != "init_args"]
    for inner in reversed(below):
        value = {"init_args": {inner: value}}
    return f"--{section}.{name}", json.dumps(value)


def _split_option(word: str) -> list[str]:
    option, equals, value = word.partition("=")
    return [option, value] if option.startswith("--") and equals and value == "null" else [word]


T = TypeVar("T")

# A class within the model or the data: --model.head, --model.init_args.head.init_args.geometry.
# Not the help of one.
_NESTED = re.compile(r"--(?:model|data)(?:\.\w+)+(?<!\.help)")


def parse(parse_args: Callable[[Sequence[str]], T], words: Sequence[str]) -> T:
    """What a command line means, its classes with their own defaults and its nulls as nulls.

    Args:
        parse_args: Of jsonargparse's parser.
        words: As typed.

    Raises:
        Exception: As the parser has it of the words that were typed.
    """
    nulls = rewrite_null_options(words)
    try:
        return parse_args(expand_class_defaults(nulls))
    except Exception:
        return parse_args(nulls)  # where a class that does not fit is told by its name alone


def expand_class_defaults(words: Sequence[str]) -> list[str]:
    """The words of a command line, with the defaults of every class that is chosen within another.

    Where a class takes the place of another, jsonargparse keeps the options that both have, those
    included that nobody set: ``--model.network VectorMLP`` would have the 100 hidden units of an
    ``MLP``, the default, and not its own 128. So that a class means what its help says, its
    defaults are put beside its name. Options of it that stand before its name count as after it.
    A class that a config names already keeps what the config sets.

    Args:
        words: As typed; ``--option=Name`` and ``--option Name`` mean the same.
    """
    spelled = [part for word in words for part in _apart(word)]
    configs = [_read(spelled[i + 1]) for i, word in enumerate(spelled[:-1]) if word == "--config"]
    index = 0
    while index < len(spelled) - 1:
        option, name = spelled[index : index + 2]
        defaults = _defaults_of(name) if _NESTED.fullmatch(option) else {}
        if defaults and not any(_names(config, option, name) for config in configs):
            del spelled[index : index + 2]
            earlier = (i for i, w in enumerate(spelled[:index]) if w.startswith(f"{option}."))
            first = next(earlier, index)
            spec = {"class_path": name, "init_args": defaults}
            spelled[first:first] = as_one_option(option, spec)
            index += 1
        index += 1
    return spelled


def _read(path: str) -> Any:
    """A config as it is written; nothing where it cannot be read, which the parser tells."""
    try:
        return yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def _names(config: Any, option: str, name: str) -> bool:
    """Whether a config has this class at an option."""
    node = config
    for key in option[2:].split("."):
        if key != "init_args":
            node = node.get("init_args", node) if isinstance(node, dict) else None
            node = node.get(key) if isinstance(node, dict) else None
    there = node.get("class_path") if isinstance(node, dict) else node
    return str(there).rpartition(".")[2] == name.rpartition(".")[2]


def _defaults_of(name: str) -> dict[str, Any]:
    """The plain defaults of a class of that name; none where there is no such class."""
    if not re.fullmatch(r"[\w.]+", name) or not name.rpartition(".")[2][:1].isupper():
        return {}
    try:
        cls = resolve_class(name)
        parameters = inspect.signature(cls).parameters if cls is not None else {}
    except Exception:  # of a user's own module; the parser tells what is wrong with it
        return {}
    return {
        key: parameter.default
        for key, parameter in parameters.items()
        if isinstance(parameter.default, bool | int | float | str | None)
    }


def _apart(word: str) -> list[str]:
    option, equals, value = word.partition("=")
    chosen = option == "--config" or (_NESTED.fullmatch(option) and _defaults_of(value))
    return [option, value] if equals and chosen else [word]
