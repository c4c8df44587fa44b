"""How tokens share the dimensions of a layer: interference, polysemanticity and capacity.

SAFR paper §2. A text has T tokens with representations h_i of width D. For rows of weights instead
of tokens, capacity is the dimensionality of Toy Models of Superposition, and polysemanticity the
interference of a feature there.

All three are computed in float32 or better without autocast (squared products of FFN activations
reach 4e9), are differentiable, and are 0 at padding, which is not read. They need one (T, T) matrix
per text.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glassbox.metrics._masked import check_mask, in_float32
from glassbox.metrics._tensors import check_points


def interference(h: Tensor, mask: Tensor | None = None) -> Tensor:
    """I_ij = (h_i · h_j)², the overlap of two tokens' representations.

    Args:
        h: (..., T, D).
        mask: (..., T) bool, true on real tokens; None if all are.

    Returns:
        (..., T, T), symmetric; float64 if ``h`` is, float32 otherwise.

    Raises:
        ValueError: ``h`` is not floating point or has fewer than two dimensions, or ``mask`` is not
            bool or of another shape.

    Source: SAFR paper, equation 1.
    """
    return _products(_real(h, mask)).square()


def polysemanticity(h: Tensor, mask: Tensor | None = None) -> Tensor:
    """P_i = Σ_{j≠i} (ĥ_i · h_j)² with ĥ_i = h_i/‖h_i‖, the other tokens' overlap with a direction.

    Args:
        h: (..., T, D).
        mask: (..., T) bool, true on real tokens; None if all are.

    Returns:
        (..., T), at least 0, in units of ‖h‖². 0 for a zero vector. float64
        if ``h`` is, float32 otherwise.

    Raises:
        ValueError: as :func:`interference`.

    Source: SAFR paper, equation 2.
    """
    return _length_and_overlap(_real(h, mask))[1]


def capacity(h: Tensor, mask: Tensor | None = None) -> Tensor:
    """C_i = (h_i · h_i)² / Σ_j (h_i · h_j)², the fraction of h_i's direction that is token i's own.

    It is computed as ‖h_i‖² / (‖h_i‖² + P_i), the same without fourth powers. Unless every vector
    of a text is zero, its capacities sum to at least 1 and at most the rank of its h (the paper's
    bound is D, which is never below the rank).

    Args:
        h: (..., T, D).
        mask: (..., T) bool, true on real tokens; None if all are.

    Returns:
        (..., T) in [0, 1]: 1 if h_i is orthogonal to all others, 1/n if n tokens have the same
        vector, 0 for a zero vector. float64 if ``h`` is, float32 otherwise.

    Raises:
        ValueError: as :func:`interference`.

    Source: SAFR paper, equation 3; the dimensionality of Elhage et al. 2022, with W_i for h_i.
    """
    length, overlap = _length_and_overlap(_real(h, mask))
    own = length.square()
    zero = length == 0
    return (own / (own + overlap).masked_fill(zero, 1.0)).masked_fill(zero, 0.0)


def _real(h: Tensor, mask: Tensor | None) -> Tensor:
    """``h`` in float32 or better, with zeros at padding, which contribute nothing to any sum."""
    check_points(h, "h")
    h = in_float32(h)
    if mask is None:
        return h
    check_mask(mask, h.shape[:-1])
    return h.masked_fill(~mask.to(h.device).unsqueeze(-1), 0.0)


def _products(h: Tensor) -> Tensor:
    """h_i · h_j, (..., T, T)."""
    with torch.autocast(h.device.type, enabled=False):
        return h @ h.mT


def _length_and_overlap(h: Tensor) -> tuple[Tensor, Tensor]:
    """‖h_i‖ and P_i, (..., T) each."""
    length = torch.linalg.vector_norm(h, dim=-1)
    divisor = length.masked_fill(length == 0, 1.0)
    # Dividing the products instead of h avoids a second (..., T, D).
    along = _products(h) / divisor.unsqueeze(-1)  # ĥ_i · h_j
    diagonal = torch.eye(h.shape[-2], dtype=torch.bool, device=h.device)
    return length, along.masked_fill(diagonal, 0.0).square().sum(dim=-1)
