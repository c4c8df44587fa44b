"""The variants of SAFR's terms."""

from __future__ import annotations

from typing import Literal, get_args

Form = Literal["masked", "paper", "code"]
"""``masked``: over real tokens, so that neither padding nor the length of a text matters (default).
``paper``: the equations of SAFR §3. ``code``: what the authors' program computes, with padding."""


def check_form(form: str) -> None:
    """Raise a ValueError if the form is unknown."""
    if form not in get_args(Form):
        raise ValueError(f"form is {form!r}; choose one of {', '.join(get_args(Form))}")
