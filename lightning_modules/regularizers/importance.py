"""SAFR's importance term: words that the mask keeps should be monosemantic."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from glassbox.metrics._masked import check_mask, in_float32

Form = Literal["masked", "paper", "code"]
"""``masked``: over real tokens, so that neither padding nor the length of a text matters (default).
``paper``: the equations of SAFR §3. ``code``: what the authors' program computes, with padding."""


def check_form(form: str) -> None:
    """Raise a ValueError if the form is unknown."""
    if form not in get_args(Form):
        raise ValueError(f"form is {form!r}; choose one of {', '.join(get_args(Form))}")


def importance(
    h: Tensor, mask: Tensor, form: Form = "masked", num_tokens: Tensor | int | None = None
) -> Tensor:
    """√(P_i/E), summed or averaged over tokens; P_i = Σ_{j≠i} (ĥ_i · h_j)² and ĥ_i = h_i/‖h_i‖.

    Computed as the norm of token i's row of ĥ_i · h_j divided by √E, whose gradient is 0 where the
    row is zero (a text of one word, orthogonal words). A zero vector, such as a word that VMASK
    drops, has no direction: its own term is 0 and has no gradient.

    Args:
        h: (B, T, E) outputs of VMASK.
        mask: (B, T) bool, true on real tokens.
        form: ``masked`` divides the sum over all real tokens by ``num_tokens``. ``paper`` sums over
            the tokens of a text and averages over texts: about the mean length of a text times
            ``masked``. ``code`` is the mean over (B, T) with padding among the i and the j: it
            depends on the amount of padding, and padding gets gradients.
        num_tokens: Divisor of ``masked``; None takes the number of real tokens. With several ranks
            pass the global batch's tokens per rank, so that averaged gradients are exact.

    Returns:
        Scalar, at least 0, in units of ‖h‖/√E; float64 if ``h`` is, float32 otherwise.

    Raises:
        ValueError: The form is unknown, or ``mask`` is not bool or has another shape.

    Source: SAFR paper §3, "Importance-Based Regularization"; ``code`` as in the authors' program.
    """
    check_form(form)
    check_mask(mask, h.shape[:-1])
    h = in_float32(h)
    if form != "code":
        h = h.masked_fill(~mask.unsqueeze(-1), 0.0)  # rows of padding are then 0 as well
    with torch.autocast(h.device.type, enabled=False):
        products = h @ h.mT  # (B, T, T)
    length = torch.linalg.vector_norm(h, dim=-1, keepdim=True)
    along = products / length.masked_fill(length == 0, 1.0)  # ĥ_i · h_j
    diagonal = torch.eye(h.shape[1], dtype=torch.bool, device=h.device)
    overlap = torch.linalg.vector_norm(along.masked_fill(diagonal, 0.0), dim=-1)  # √P_i, (B, T)
    overlap = overlap / math.sqrt(h.shape[-1])
    if form == "code":
        return overlap.mean()
    if form == "paper":
        return overlap.sum() / len(h)
    return overlap.sum() / (mask.sum().clamp_min(1) if num_tokens is None else num_tokens)
