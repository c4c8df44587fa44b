"""The words of `lightning reproduce`: what was typed, and what one would type."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any


def typed_command(study: str, options: Mapping[str, Any]) -> str:
    """The command as one would type it in a shell."""
    words = ["lightning", "reproduce", study]
    for name, value in options.items():
        if value is True:
            words.append(f"--{name}")
        elif value and value != "runs/reproduce":
            words += [f"--{name}", json.dumps(value) if isinstance(value, dict) else str(value)]
    return shlex.join(words)


def typed_keys(keys: Mapping[str, Any]) -> tuple[str, ...]:
    """Config keys as one would type them."""
    typed = {k: v if isinstance(v, str) else json.dumps(v) for k, v in keys.items()}
    return tuple(word for key, v in typed.items() for word in (f"--{key}", v))


def parse_shard(shard: str) -> tuple[int, int]:
    """The first and the second number of ``i/n``.

    Raises:
        ValueError: It is no part of so many.
    """
    words = shard.split("/")
    if len(words) == 2 and all(word.isascii() and word.isdecimal() for word in words):
        first, count = int(words[0]), int(words[1])
        if 1 <= first <= count:
            return first, count
    raise ValueError(f"shard is {shard!r}; it must be i/n with i from 1 to n, such as 2/8")
