"""One-line messages for user errors."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
import traceback
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path

from glassbox.cli.class_lookup import (
    compatible_classes,
    expected_type,
    import_object,
    known_keys,
    resolve_class,
)
from glassbox.cli.renamed import new_class, new_option

_ROOT = Path(__file__).resolve().parents[2]
# Where a ValueError or RuntimeError is a user's: our packages, and Lightning's checks of settings.
_OURS = tuple(
    f"{_ROOT}{os.sep}{package}{os.sep}"
    for package in ("glassbox", "lightning_modules", "datamodules", "callbacks")
)
_LIGHTNINGS = ("lightning/pytorch/trainer/", "lightning/pytorch/callbacks/")
_MAX_LENGTH = 400


class UsageError(Exception):
    """A user's error; its message is shown as it is."""


def user_message(error: BaseException, arguments: Sequence[str] = ()) -> str | None:
    """One line for an error that the user can correct; None for an error of the program."""
    if isinstance(error, UsageError):
        return str(error)
    if isinstance(error, ArgumentError):
        return explain_parser_error(str(error), arguments)
    message = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    file, function = (frames[-1].filename, frames[-1].name) if frames else ("", "")
    if error.__cause__ is not None and "jsonargparse" in file:
        # The parser's error about a class that raised another when it was built.
        cause = error.__cause__
        hint = "check the config; GLASSBOX_DEBUG=1 shows the traceback"
        return user_message(cause) or f"{_shortened(str(cause))}; {hint}"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if function == "load_state_dict":
        return (
            f"the checkpoint does not match this config (network, head, task, batch size or number "
            f"of seeds); use the config.yaml of its run: {_shortened(message)}"
        )
    if message.startswith("Early stopping conditioned on metric"):
        message += ". For a metric of validation set check_on_train_epoch_end: false"
    is_ours = isinstance(error, ValueError) and os.path.abspath(file).startswith(_OURS)
    is_lightnings = isinstance(error, ValueError | RuntimeError) and any(
        place in file for place in _LIGHTNINGS
    )
    if is_ours or is_lightnings or type(error).__name__ == "MisconfigurationException":
        return message
    return None


def explain_parser_error(message: str, arguments: Sequence[str] = ()) -> str:
    """The nested report of jsonargparse as one line that names the key and the nearest name.

    The five commonest reports are reworded; any other comes back as it is, on one line.
    """
    given_config = re.search(r"(?:^| )(?:--config|-c)[ =](\S+)", " ".join(arguments))
    config = given_config.group(1) if given_config else "the config file"
    # A value from the command line reaches the parser as text, one from a file as dict or list.
    from_file = re.search(r"Given value type: <class '(dict|list)'>", message)
    source = f" (in {config})" if from_file else ""
    message = _drop_base_class_problem(message)
    key = ".".join(re.findall(r'Parser key "([\w.]+)"', message))
    unknown_key = r"does not accept option '(\S+)'|unrecognized arguments: (\S+)"
    if match := re.search(r"[Oo]ption '(\S+?)' is not accepted", message):
        return _explain_option(match.group(1), key, message, source)
    if match := re.search(unknown_key, message):
        key, word = match.groups()
        if word and not word.startswith("--"):
            return f"unexpected argument {word!r}; write options as --key value"
        return _explain_key(key or word.lstrip("-"), arguments)
    if match := re.search(r"dot import path string: (\S+)|a path but (\S+) either", message):
        return _explain_class(match.group(1) or match.group(2), key, message)
    if value := _explain_value(message):
        return f"{key} is {value}{source}"
    if match := re.search(r"arguments are required: (.+)$", message):
        missing = [f"--{name.rpartition('.')[2]}" for name in match.group(1).split(", ")]
        in_config = {"--model", "--data"} & {*missing}
        hint = "name a config: --config configs/quickstart.yaml" if in_config else "see --help"
        return f"{', '.join(missing)} missing; {hint}"
    if match := re.match(r"(Problems parsing|Unexpected) config:(.*)", message, re.DOTALL):
        return f"{config} is empty or not valid YAML: {' '.join(match.group(2).split())}"
    return _shortened(re.sub(r'Parser key "([\w.]+)":', r"\1:", message))


def _shortened(message: str) -> str:
    message = " ".join(message.split())
    return message if len(message) <= _MAX_LENGTH else f"{message[:_MAX_LENGTH]} …"


def _drop_base_class_problem(message: str) -> str:
    """The report without the problems of the base class Callback.

    jsonargparse tries an option of ``--trainer.callbacks+`` on the named class and on the base.
    """
    start, *problems = re.split(r"(?=- Problem with given class_path )", message)
    own = [problem for problem in problems if "class_path 'lightning.Callback'" not in problem]
    return start + "".join(own) if own else message


def _explain_option(option: str, key: str, message: str, source: str) -> str:
    """An option that a class does not have."""
    before, _, after = message.partition(f"'{option}' is not accepted")
    paths = re.findall(r"class_path='([\w.]+)'", after.split("Given value")[0])
    paths = paths or re.findall(r"class_path '([\w.]+)'", before)
    if not paths:
        return f"{key}: unknown option {option!r}{source}"
    known = list(inspect.signature(import_object(paths[-1])).parameters)
    if new := new_option(option, known):
        return f"{key}.{option} was renamed to {key}.{new}{source}"
    return (
        f"{key}: {paths[-1].rpartition('.')[2]} has no option {option!r}{source}"
        f"{nearest(option, known)}; its options are {', '.join(known) or 'none'}"
    )


def _explain_key(key: str, arguments: Sequence[str]) -> str:
    """A key that the command line does not have."""
    known = known_keys(arguments[0]) if arguments else []
    if new := new_option(key, known):
        return f"--{key} was renamed to --{new}"
    return f"there is no key {key!r}{nearest(key, known)}; --help lists all"


def _explain_class(name: str, key: str, message: str) -> str:
    """A class that does not exist, cannot be imported, or does not fit the key."""
    if new := new_class(name):
        return f"{key}: {name} was renamed to {new}"
    if failure := _import_failure(name):
        return f"{key}: cannot import {name!r}: {failure}"
    owners = re.findall(r"class_path '([\w.]+)'", message)
    expected = expected_type(owners[-1], key.rpartition(".")[2]) if owners else None
    expected = expected or expected_type("", key)
    known = compatible_classes(expected) if expected else []
    choices = f"; choose {', '.join(known)}, or the full path of your own" if known else ""
    if resolve_class(name) is None:
        return f"{key}: there is no class {name!r}{nearest(name, known)}{choices}"
    kind = expected.__name__ if expected else "class of the right kind"
    return f"{key}: {name!r} does not fit, since it is not a {kind}{choices}"


def _import_failure(path: str) -> str | None:
    """Why the module of a class path cannot be imported, if it exists."""
    module = path.rpartition(".")[0]
    try:
        if module:
            importlib.import_module(module)
    except ModuleNotFoundError as error:
        return None if error.name and module.startswith(error.name) else str(error)
    except Exception as error:
        return str(error)
    return None


def _explain_value(message: str) -> str | None:
    """The value of the innermost key and what was expected of it."""
    inner = message.rpartition('Parser key "')[2]
    line = r"^( *)(?:- )?(?:Expected an? (?!path but)|Not a valid (?=subclass))(.+?)"
    expected = re.findall(rf"{line}(?:\. Got value: (.+))?$", inner, re.MULTILINE)
    if not expected:
        return None
    indent, kind, given = expected[0]
    kinds = [kind] if given else [kind for spaces, kind, _ in expected if spaces == indent]
    given = given or re.findall(r"(?:Got|Given) value: (.+)|$", inner)[0]
    words = (re.sub(r"^<class '(.+)'>$|^typing\.(?=Literal)", r"\1", kind) for kind in kinds)
    names = {"NoneType": "null", "list": "a list such as '[a, b]'"}
    wanted = " or ".join(dict.fromkeys(names.get(word, word) for word in words))
    return f"{given.split('. Got value: ')[0]!r}; expected {wanted}"


def nearest(name: str, known: Sequence[str]) -> str:
    """A suggestion of the nearest known name; empty if none is near."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
