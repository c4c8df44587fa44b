"""The forms in which SAFR's terms can be had, and what all of the terms ask of their input."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Form = Literal["masked", "paper", "code"]
"""``masked``: over real tokens, so that neither padding nor the length of a text weighs (default).
``paper``: the equations of SAFR §3. ``code``: what the authors' program has, padding included."""


def check_form(form: str) -> None:
    """Refuse a form that there is not.

    Raises:
        ValueError: it is none of ``masked``, ``paper`` and ``code``.
    """
    if form not in get_args(Form):
        raise ValueError(f"form is {form!r}; choose one of {', '.join(get_args(Form))}")


def check_mask(mask: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse a mask that would be misread.

    Raises:
        ValueError: the mask is not boolean, or not of this shape.
    """
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool (true on real tokens), got {mask.dtype}")
    if tuple(mask.shape) != tuple(shape):
        raise ValueError(f"mask must have shape {tuple(shape)}, got {tuple(mask.shape)}")


def in_float32(values: Tensor) -> Tensor:
    """``values`` in float32; float64 stays what it is."""
    return values if values.dtype == torch.float64 else values.float()
