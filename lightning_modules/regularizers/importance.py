"""SAFR's importance term: words that get through the mask should be monosemantic."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_modules.regularizers._checks import Form, check_form, check_mask, in_float32


def importance(
    h: Tensor, mask: Tensor, form: Form = "masked", num_tokens: Tensor | int | None = None
) -> Tensor:
    """√(P_i/E), added or averaged over tokens, with P_i = Σ_{j≠i} (ĥ_i · h_j)² and ĥ_i = h_i/‖h_i‖.

    It is taken as the length of token i's row of ĥ_i · h_j, divided by √E, whose gradient is 0
    where the row is zero (a text of one word, orthogonal words). A zero vector, as of a word that
    VMASK holds back, has no direction: its own term is 0 and sends no gradient.

    Args:
        h: (B, T, E) outputs of VMASK.
        mask: (B, T) bool, true on real tokens.
        form: ``masked`` divides the sum over all real tokens by ``num_tokens``. ``paper`` adds over
            the tokens of a text and averages over texts: about the mean length of a text times
            ``masked``. ``code`` is the mean over (B, T) with padding among the i and the j: more
            padding changes it, and it sends gradients to padding (in short texts, at the start of
            training, nearly all of it is padding).
        num_tokens: What ``masked`` divides by; the number of real tokens if None. With several
            ranks the global batch's tokens per rank, so that averaged gradients are exact.
            The other forms do not read it.

    Returns:
        Scalar, at least 0, in units of ‖h‖/√E; float64 if ``h`` is, float32 otherwise.

    Raises:
        ValueError: the form does not exist, or ``mask`` is not bool or of another shape.

    Source: SAFR paper §3, "Importance-Based Regularization"; ``code`` as the authors' program has.
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
