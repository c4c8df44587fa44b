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
            value: dict[str, Any] | None = None
            for name in reversed(nested[3].removeprefix(".").split(".")):
                value = value if name == "init_args" else {"init_args": {name: value}}
            word, pending[0] = f"--{nested[1]}.{nested[2]}", json.dumps(value)
        spelled.append(word)
    return spelled


def _apart(word: str) -> list[str]:
    option, equals, value = word.partition("=")
    return [option, value] if option.startswith("--") and equals and value == "null" else [word]
