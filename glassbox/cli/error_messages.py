"""What a user reads when something typed cannot be: one sentence instead of a traceback."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import pickle
import re
import traceback
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from pathlib import Path

from glassbox.cli.class_lookup import compatible_classes, expected_type, resolve_class

# Class names that fit a key such as model.head; keys of the command line.
KnownClasses = Callable[[str], Sequence[str]]


class UsageError(Exception):
    """Something that the user typed and can mend; the message is the whole sentence."""


def user_message(
    error: Exception,
    arguments: Sequence[str] = (),
    known_classes: KnownClasses = lambda key: (),
    known_keys: Sequence[str] = (),
) -> str | None:
    """One sentence for an error that the user can mend; None for one that is ours.

    A ValueError counts as the user's where Glassbox itself raised it; other exceptions where they
    are what a wrong file, key or value leads to.

    Args:
        error: What was raised.
        arguments: The command line, for the name of the config file in messages about its keys.
        known_classes: Class names that fit a key, for suggestions.
        known_keys: Keys of the command line that belong to no exchangeable class.
    """
    message = str(error)
    if isinstance(error, ArgumentError) or "Union subtypes" in message:
        named = re.search(r"(?:^| )(?:--config|-c)[ =](\S+)", " ".join(arguments))
        config = named.group(1) if named else "the config file"
        return explain_parser_error(message, config, known_classes, known_keys)
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"there is no file {error.filename!r}"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ValueError) and _raised_by_us(error):
        return message
    if isinstance(error, pickle.UnpicklingError) or "PytorchStreamReader" in message:
        return "the checkpoint is damaged, or no checkpoint at all; use another with --ckpt_path"
    if "Error(s) in loading state_dict" in message:
        return (
            "the checkpoint does not fit this config (another network, head, task or number of "
            "seeds); use the config.yaml of the run's folder: " + " ".join(message.split())[:300]
        )
    if "loaded state dict" in message:  # of the optimizer
        return (
            "the checkpoint's optimizer does not fit this config (other train fractions, batch "
            "size or number of seeds); use the config.yaml of the run's folder"
        )
    if twice := re.search(r"more than one stateful callback of type `(\w+)`", message):
        return (
            f"trainer.callbacks holds {twice.group(1)} twice with the same settings, which a "
            f"checkpoint could not tell apart; remove one, maybe that of --trainer.callbacks+"
        )
    if message.startswith("Early stopping conditioned on metric"):
        return _explain_early_stopping(message)
    if type(error).__name__ == "MisconfigurationException":
        return " ".join(message.split())
    return None


def _explain_early_stopping(message: str) -> str:
    """EarlyStopping's monitor is not among the metrics when it looks for it."""
    monitor, *known = re.findall(r"`([^`\s]+)`", message.replace("`EarlyStopping`", ""))
    return (
        f"EarlyStopping: monitor is {monitor!r}, which is not logged when it looks for it; those "
        f"there are then: {', '.join(known) or 'none'}{nearest(monitor, known)}; for a metric of "
        f"validation set the callback's check_on_train_epoch_end to false"
    )


def _raised_by_us(error: Exception) -> bool:
    """Whether the innermost frame is Glassbox's, or Lightning's check of trainer settings."""
    frames = traceback.extract_tb(error.__traceback__)
    place = os.path.abspath(frames[-1].filename) if frames else ""
    root = Path(__file__).resolve().parents[2]
    first = os.path.relpath(place, root).split(os.sep)[0]
    ours = ("glassbox", "lightning_modules", "datamodules", "callbacks")
    return first in ours or "lightning/pytorch/trainer/" in place


def explain_parser_error(
    message: str,
    config: str = "the config file",
    known_classes: KnownClasses = lambda key: (),
    known_keys: Sequence[str] = (),
) -> str:
    """jsonargparse's nested report as one sentence that names the key and the nearest name.

    Raises nothing: what it does not recognize comes back in the parser's own words, on one line.
    """
    # Values from the command line reach the parser as NestedArg or str, those of a file as dict.
    in_file = re.search(r"Given value type: <class '(dict|list)'>", message)
    source = f" (in {config})" if in_file else ""
    message = _without_the_base(message)
    keys = re.findall(r'Parser key "([\w.]+)"', message)
    key = ".".join(keys)
    if match := re.search(r"[Oo]ption '(\S+?)' is not accepted", message):
        return _explain_option(match.group(1), key, message, source)
    if match := re.search(r"does not accept option '(\S+)'|unrecognized arguments: (\S+)", message):
        name = match.group(1) or match.group(2)
        if not (match.group(1) or name.startswith("--")):
            return f"{name!r} stands alone; options are written --key value"
        return f"there is no key {name.lstrip('-')!r}" + nearest(name.lstrip("-"), known_keys)
    if match := re.search(r"dot import path string: (\S+)|a path but (\S+) either", message):
        name = match.group(1) or match.group(2)
        if failure := _import_failure(name):
            return f"{key}: cannot import {name!r}: {failure}"
        return _explain_class(name, key, message, known_classes(key))
    # Of values one in another the innermost comes first, and is the one that is wrong.
    literal = r"Literal\[(.+?)\]\. Got value: (.+?)(?:\. Got value: |$)"
    if match := re.search(literal, message, re.M):
        return f"{key} is {match.group(2)!r}; it must be one of {match.group(1)}"
    if match := re.search(r"Expected a (?:<class ')?([\w ]+?)'?>?\. Got value: (.+)", message):
        wanted = match.group(1).replace("list", "a list, such as '[a, b]'")
        return f"{key} is {match.group(2)!r}; it must be {wanted}{source}"
    if types := re.findall(r"Expected a <class '(\w+)'>", message):
        given = re.search(r"Given value: (.+)", message)
        wanted = " or ".join(dict.fromkeys("null" if t == "NoneType" else t for t in types))
        noise = ("Expected a", "Does not validate", "Problem with")
        sentences = [
            line.strip(" -")
            for line in message.splitlines()
            if line.lstrip().startswith("- ") and not any(word in line for word in noise)
        ]
        if sentences and not keys:  # an error raised by the class itself, when it was built
            return sentences[0]
        return f"{key} is {given.group(1) if given else '?'!r}; it must be {wanted}{source}"
    if match := re.search(r"File does not exist: '(.+)'", message):
        return f"there is no config file {os.path.relpath(match.group(1))!r}"
    if match := re.search(r"Path is not a file: '(.+)'", message):
        return f"{os.path.relpath(match.group(1))!r} is no file; name a config in it"
    if match := re.search(r"arguments are required: (?!model|data)(\w+)(?:, \w+)*$", message):
        return f"--{match.group(1)} is missing; --help describes it"
    if "arguments are required" in message:
        return "no model and no data are given; name a config: --config configs/quickstart.yaml"
    if "Unexpected config" in message:
        return f"{config} is empty or holds no keys"
    if "Problems parsing config" in message:
        place = re.findall(r"line (\d+), column (\d+)", message)
        where = f" near line {place[-1][0]}, column {place[-1][1]}" if place else ""
        return f"{config} is no valid YAML{where}"
    return " ".join(message.split())


def _explain_class(name: str, key: str, message: str, known: Sequence[str]) -> str:
    """A class that is not there, or that is no class for this key."""
    owners = re.findall(r"class_path '([\w.]+)'", message)
    wanted = expected_type(owners[-1], key.rpartition(".")[2]) if owners else None
    if wanted is not None:
        fitting = compatible_classes(wanted)
        known = [other for other in known if other in fitting] or fitting or known
    choice = f"{', '.join(known)} (or the full path of your own)"
    if resolve_class(name) is None:
        here = f"there is no class {name!r}{nearest(name, known)}"
        return f"{key or 'the config'}: {here}; known here: {choice}"
    reason = f"it is no {wanted.__name__}" if wanted else "it is of another kind"
    return f"{key or 'the config'}: {name!r} does not fit, since {reason}; those that do: {choice}"


def _without_the_base(message: str) -> str:
    """The report without what the base class Callback has against a callback's own option.

    An option of --trainer.callbacks+ is tried on the class that was named and on the base.
    """
    start, *problems = re.split(r"(?=- Problem with given class_path )", message)
    own = [problem for problem in problems if "class_path 'lightning.Callback'" not in problem]
    return start + "".join(own) if own else message


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
        f"{key}: {owner} has no option {option!r}{source}{nearest(option, known)}; its options "
        f"are {', '.join(known) or 'none'}"
    )


def _import_failure(path: str) -> str | None:
    """Why the module of a class path cannot be imported, where that is not its absence."""
    module = path.rpartition(".")[0]
    try:
        if module:
            importlib.import_module(module)
    except ModuleNotFoundError as error:
        return None if error.name and module.startswith(error.name) else str(error)
    except Exception as error:
        return str(error)
    return None


def nearest(name: str, known: Sequence[str]) -> str:
    """A suggestion, or nothing where no name is near."""
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""
