"""Options of a class within a class that are set to null on the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

# An option of a class that is itself an option of the model or the data: --model.head.exponent.
_NESTED = re.compile(r"--(model|data)(?:\.init_args)?\.(\w+)((?:\.\w+)+)")


def spell_nulls(words: Sequence[str]) -> list[str]:
    """The words of a command line, with nested options set to null as jsonargparse reads them.

    It (4.53) turns the null of ``--model.head.exponent null`` into the text "None" and refuses it,
    but takes ``--model.head '{"init_args": {"exponent": null}}'``, which keeps the other options.

    Args:
        words: As typed; ``--option=null`` and ``--option null`` mean the same.
    """
    spelled: list[str] = []
    pending = [part for word in words for part in _apart(word)]
    while pending:
        word = pending.pop(0)
        nested = _NESTED.fullmatch(word)
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


def _apart(word: str) -> list[str]:
    option, equals, value = word.partition("=")
    return [option, value] if option.startswith("--") and equals and value == "null" else [word]
