"""Checks of option values, and small conversions that several data modules need."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path


def check_at_least(minimum: int, **options: int | None) -> None:
    """Check that options are integers and not too small; None is allowed."""
    for name, value in options.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ValueError(f"{name} is {value!r}; it must be an integer of at least {minimum}")
        if value < minimum:
            raise ValueError(f"{name} is {value}; it must be at least {minimum}")


def choose(name: str, value: str, choices: Sequence[str]) -> None:
    """Check that a value is one of the choices."""
    if value not in choices:
        near = difflib.get_close_matches(value, choices, 1)
        suggestion = f"; did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(map(repr, choices))
        raise ValueError(f"{name} is {value!r}{suggestion}; it must be one of {listed}")


def as_folder(data_dir: str | None) -> Path | None:
    """The path of an option that may be null; ``~`` is expanded."""
    return None if data_dir is None else Path(data_dir).expanduser()


def one_line(error: Exception) -> str:
    """The text of an error without line breaks and final full stop, to quote in a message."""
    return " ".join(str(error).split()).rstrip(".")
