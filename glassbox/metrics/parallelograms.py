"""Parallelograms of word pairs: whether a relation is the same offset everywhere in an embedding.

The harmonic-loss paper's §6 draws two pairs (i, j) and (m, n) of one relation, such as jump-jumped
and win-won, and measures how far E_i, E_j, E_n, E_m are from a parallelogram (equation 5, Figure
6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class ParallelogramScores(NamedTuple):
    """Statistics of many parallelogram losses; (...) each."""

    median: Tensor
    below_1: Tensor  # fraction of losses below 1, exact zeros included
    zeros: Tensor  # fraction of exact zeros
    relative: Tensor  # median over that of unrelated words: 1 if the relation is not represented


def draw_quadruples(num_pairs: int, num_quadruples: int = 10000, seed: int = 0) -> Tensor:
    """Draw the two word pairs of each quadruple.

    Args:
        num_pairs: P, at least 2.
        num_quadruples: Q, drawn with replacement.
        seed: Seed of the draw, so that every model, rank and step uses the same quadruples.

    Returns:
        (Q, 2) indices of pairs, two different ones per row.

    Raises:
        ValueError: There are fewer than two pairs.
    """
    if num_pairs < 2:
        raise ValueError(f"num_pairs must be at least 2, got {num_pairs}.")
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(num_pairs, (num_quadruples,), generator=generator)
    second = torch.randint(num_pairs - 1, (num_quadruples,), generator=generator)
    return torch.stack([first, second + (second >= first)], dim=1)


def draw_unrelated(drawn: Tensor, num_pairs: int, seed: int = 0) -> Tensor:
    """Draw another pair for each pair of each quadruple, whose second word serves as unrelated.

    Args:
        drawn: (Q, 2) indices of pairs from :func:`draw_quadruples`.
        num_pairs: P, at least 2.
        seed: Seed of the draw; its random stream differs from that of ``drawn``.

    Returns:
        (Q, 2) indices of pairs, each different from the entry of ``drawn``.
    """
    generator = torch.Generator().manual_seed(seed + 1)
    others = torch.randint(num_pairs - 1, drawn.shape, generator=generator)
    return others + (others >= drawn)


def parallelogram_losses(
    coordinates: Tensor,
    scale: Tensor,
    pairs: Tensor,
    drawn: Tensor,
    squared: bool = False,
    partners: Tensor | None = None,
) -> Tensor:
    """‖E_i + E_n − E_j − E_m‖ / σ of every quadruple.

    The loss is exactly 0 for degenerate quadruples: if the words of each pair are the same token,
    or the two pairs are the same tokens. They are included.

    Args:
        coordinates: (..., V, k) centered embeddings, projected or not.
        scale: (...) σ, the root mean square length of all V coordinates.
        pairs: (P, 2) token ids of the pairs' words.
        drawn: (Q, 2) indices of the pairs (i, j) and (m, n), from :func:`draw_quadruples`.
        squared: Return the square, as the authors' code does (the paper's equation has none).
        partners: (Q, 2) indices of pairs whose second words replace j and n, for unrelated words of
            the same kind; None uses j and n.

    Returns:
        (..., Q) losses, without a unit, invariant to rotation and scaling of the embedding.

    Source: harmonic-loss paper, equation 5.
    """
    first = pairs[:, 0].to(coordinates.device)[drawn.to(coordinates.device)]  # (Q, 2): i, m
    others = drawn if partners is None else partners
    second = pairs[:, 1].to(coordinates.device)[others.to(coordinates.device)]  # (Q, 2): j, n
    steps = coordinates[..., second, :] - coordinates[..., first, :]  # (..., Q, 2, k)
    losses = (steps[..., 1, :] - steps[..., 0, :]).norm(dim=-1) / scale.unsqueeze(-1)
    return losses.square() if squared else losses


def parallelogram_scores(losses: Tensor, unrelated: Tensor) -> ParallelogramScores:
    """Median, fractions below 1 and of exact zeros, and the median relative to unrelated words.

    The authors subtract the fraction of zeros from the plotted distribution; here it is separate.

    Args:
        losses: (..., Q).
        unrelated: (..., Q) losses of the same first words with the second words of other pairs.

    Returns:
        (...) each; nan where a loss is nan.
    """
    unknown = losses.isnan().any(dim=-1)
    fractions = [(losses < 1).float().mean(dim=-1), (losses == 0).float().mean(dim=-1)]
    below, zeros = (fraction.where(~unknown, torch.nan) for fraction in fractions)
    median = losses.quantile(0.5, dim=-1)
    return ParallelogramScores(median, below, zeros, median / unrelated.quantile(0.5, dim=-1))


def ranked_quadruples(losses: Tensor, pairs: Tensor, drawn: Tensor, ranks: Sequence[int]) -> Tensor:
    """The quadruples with the given ranks by ascending loss.

    Only quadruples of four different tokens are ranked, and each set of four (in either order of
    the pairs) once.

    Args:
        losses: (Q,) of one model.
        pairs: (P, 2) token ids of the pairs' words.
        drawn: (Q, 2) indices of pairs.
        ranks: Ascending, from 0; those beyond the last quadruple are left out.

    Returns:
        (R,) indices of rows of ``drawn``.
    """
    losses, pairs, drawn = losses.cpu(), pairs.cpu(), drawn.cpu()
    tokens = pairs[drawn]  # (Q, 2, 2)
    i, j, m, n = tokens.flatten(1).unbind(dim=1)
    whole = (i != j) & (i != m) & (i != n) & (j != m) & (j != n) & (m != n)
    flip = (i > m)[:, None, None]  # i = m only in quadruples that are left out
    ordered = torch.where(flip, tokens.flip(1), tokens).flatten(1)
    order = torch.argsort(losses, stable=True)
    order = order[whole[order]]
    _, group = torch.unique(ordered[order], dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1 if len(group) else 0,), len(order))
    first.scatter_reduce_(0, group, torch.arange(len(order)), "amin")
    distinct = order[first.sort().values]
    return distinct[[rank for rank in ranks if rank < len(distinct)]]
