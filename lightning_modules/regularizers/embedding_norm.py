"""The embedding regularizer of the harmonic-loss experiments."""

from __future__ import annotations

from torch import Tensor


def column_rms(embedding: Tensor) -> Tensor:
    """Mean over an embedding's columns of each column's root mean square.

    The authors' "L2 regularization on the embeddings" (harmonic-loss paper §4.1, strength 0.01), as
    their code has it: a group-lasso-like term that can switch whole dimensions off, not a squared
    norm.

    Args:
        embedding: (V, E).

    Returns:
        Scalar; its gradient is finite where a column is all zero.
    """
    return embedding.square().mean(dim=0).clamp_min(1e-24).sqrt().mean()
