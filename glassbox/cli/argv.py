"""Rewriting of arguments that jsonargparse would misread."""

from __future__ import annotations

import inspect
import itertools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from glassbox.cli.class_lookup import resolve_class

T = TypeVar("T")

# An option within the model or the data, such as --model.head, --model.init_args.head.exponent.
_NESTED_OPTION = re.compile(r"--(?:model|data)(?:\.\w+)+(?<!\.help)")


def parse(parse_args: Callable[[Sequence[str]], T], words: Sequence[str]) -> T:
    """Parse a command line so that a class keeps its own defaults and ``null`` means None.

    An error is reported for the words as typed if these are wrong, too.
    """
    nulls = rewrite_null_options(words)
    try:
        return parse_args(expand_class_defaults(nulls))
    except Exception:
        parse_args(nulls)
        raise


def rewrite_null_options(words: Sequence[str]) -> list[str]:
    """Rewrite options of nested classes that are set to null.

    jsonargparse 4.53 reads the null of ``--model.head.exponent null`` as the text "None" and
    refuses it, but takes ``--model.head '{"init_args": {"exponent": null}}'``, which keeps the
    other options.
    """
    rewritten = [part for word in words for part in _split_option(word)]
    for index, (option, value) in enumerate(itertools.pairwise([*rewritten])):
        if value == "null" and len(_path(option)) > 2:
            rewritten[index : index + 2] = _as_json_option(option, None)
    return rewritten


def expand_class_defaults(words: Sequence[str]) -> list[str]:
    """Put the defaults of every class that is chosen within the model or the data beside its name.

    Where a class replaces another, jsonargparse keeps the options that both have, even those that
    nobody set: ``--model.network VectorMLP`` would have the 100 hidden units of an ``MLP`` instead
    of its own 128. Options of a class that are typed before its name count as typed after it. A
    class that a config names already keeps what the config sets.
    """
    expanded = [part for word in words for part in _split_option(word)]
    pairs = itertools.pairwise(expanded)
    configs = [_read_yaml(path) for option, path in pairs if option == "--config"]
    index = 0
    while index < len(expanded) - 1:
        option, name = expanded[index : index + 2]
        defaults = _class_defaults(name) if _path(option) else {}
        if defaults and not any(_config_names(config, option, name) for config in configs):
            del expanded[index : index + 2]
            earlier = (i for i, w in enumerate(expanded[:index]) if w.startswith(f"{option}."))
            first = next(earlier, index)
            spec = {"class_path": name, "init_args": defaults}
            expanded[first:first] = _as_json_option(option, spec)
            index += 1
        index += 1
    return expanded


def _path(option: str) -> list[str]:
    """``["model", "head", "exponent"]``, without ``init_args``; empty for other options."""
    if not _NESTED_OPTION.fullmatch(option):
        return []
    return [word for word in option[2:].split(".") if word != "init_args"]


def _split_option(word: str) -> list[str]:
    """``--option=value`` as two words if the option or value is one that is rewritten here."""
    option, equals, value = word.partition("=")
    is_class = bool(_path(option) and _class_defaults(value))
    split = equals and (option == "--config" or value == "null" or is_class)
    return [option, value] if split and option.startswith("--") else [word]


def _as_json_option(option: str, value: Any) -> list[str]:
    """``--model.head.exponent`` and its value as ``--model.head`` and JSON."""
    section, name, *below = _path(option)
    for inner in reversed(below):
        value = {"init_args": {inner: value}}
    return [f"--{section}.{name}", json.dumps(value)]


def _class_defaults(name: str) -> dict[str, Any]:
    """The plain defaults of the class of that name; empty if there is none."""
    if not re.fullmatch(r"[\w.]+", name) or not name.rpartition(".")[2][:1].isupper():
        return {}
    try:
        cls = resolve_class(name)
        parameters = inspect.signature(cls).parameters if cls is not None else {}
    except Exception:  # of a user's own module; the parser reports it
        return {}
    return {
        key: parameter.default
        for key, parameter in parameters.items()
        if isinstance(parameter.default, bool | int | float | str | None)
    }


def _read_yaml(path: str) -> Any:
    """The content of a config; None if it cannot be read, which the parser reports."""
    try:
        return yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def _config_names(config: Any, option: str, name: str) -> bool:
    """Whether a config has this class at an option."""
    node = config
    for key in _path(option):
        node = node.get("init_args", node) if isinstance(node, dict) else None
        node = node.get(key) if isinstance(node, dict) else None
    class_path = node.get("class_path") if isinstance(node, dict) else node
    return str(class_path).rpartition(".")[2] == name.rpartition(".")[2]
