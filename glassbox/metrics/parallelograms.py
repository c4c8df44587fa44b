"""Parallelograms of word pairs: whether a relation is the same step everywhere in an embedding.

The harmonic-loss paper's §6 draws two pairs (i, j) and (m, n) of one relation, such as jump-jumped
and win-won, and asks how far E_i, E_j, E_n, E_m are from a parallelogram (equation 5, Figure 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class ParallelogramScores(NamedTuple):
    """What is told of many parallelogram losses; (...) each."""

    median: Tensor
    below_1: Tensor  # share of losses below 1, exact zeros included
    zeros: Tensor  # share of exact zeros
    relative: Tensor  # median over the median of unrelated words: 1 where the relation is unseen


def draw_quadruples(num_pairs: int, num_quadruples: int = 10000, seed: int = 0) -> Tensor:
    """Which two pairs each quadruple is made of.

    Args:
        num_pairs: P, at least 2.
        num_quadruples: Q, drawn with replacement.
        seed: Of the draw, which depends on nothing else, so that every model, rank and step is
            measured on the same quadruples.

    Returns:
        (Q, 2) indices of pairs, the two of a row never the same.

    Raises:
        ValueError: There are fewer than two pairs.
    """
    if num_pairs < 2:
        raise ValueError(f"a parallelogram needs two word pairs, got {num_pairs}.")
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(num_pairs, (num_quadruples,), generator=generator)
    second = torch.randint(num_pairs - 1, (num_quadruples,), generator=generator)
    return torch.stack([first, second + (second >= first)], dim=1)


def draw_unrelated(drawn: Tensor, num_pairs: int, seed: int = 0) -> Tensor:
    """For each pair of each quadruple another pair, whose second word stands in for an unrelated.

    Args:
        drawn: (Q, 2) indices of pairs, as of :func:`draw_quadruples`.
        num_pairs: P, at least 2.
        seed: Of the draw; the stream is another than that of ``drawn``.

    Returns:
        (Q, 2) indices of pairs, none of them that of ``drawn`` in its place.
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

    The loss is exactly 0 where the quadruple has no two sides: where the words of each pair end in
    the same token, or the two pairs in the same tokens. Nothing is left out here.

    Args:
        coordinates: (..., V, k) centered embeddings, projected or not.
        scale: (...) σ, the root mean square length of all V coordinates.
        pairs: (P, 2) token ids of the pairs' words.
        drawn: (Q, 2) indices of the pairs (i, j) and (m, n), as of :func:`draw_quadruples`.
        squared: Return the square, as the authors' code does (the paper's equation has none).
        partners: (Q, 2) indices of the pairs whose second words take the places of j and n, for
            words of the same kind that are not related; None takes each word's own.

    Returns:
        (..., Q) losses, without a unit; a rotation or a scaling of the embedding leaves them.

    Source: harmonic-loss paper, equation 5.
    """
    first = pairs[:, 0].to(coordinates.device)[drawn.to(coordinates.device)]  # (Q, 2): i, m
    others = drawn if partners is None else partners
    second = pairs[:, 1].to(coordinates.device)[others.to(coordinates.device)]  # (Q, 2): j, n
    steps = coordinates[..., second, :] - coordinates[..., first, :]  # (..., Q, 2, k)
    losses = (steps[..., 1, :] - steps[..., 0, :]).norm(dim=-1) / scale.unsqueeze(-1)
    return losses.square() if squared else losses


def parallelogram_scores(losses: Tensor, unrelated: Tensor) -> ParallelogramScores:
    """Median, share below 1, share of exact zeros, and the median relative to unrelated words.

    The authors subtract the zeros' share from the plotted distribution; here it is told beside it.

    Args:
        losses: (..., Q).
        unrelated: (..., Q) losses of the same first words with the second words of other pairs.

    Returns:
        (...) each; nan where a loss is nan.
    """
    unknown = losses.isnan().any(dim=-1)
    shares = [(losses < 1).float().mean(dim=-1), (losses == 0).float().mean(dim=-1)]
    below, zeros = (share.where(~unknown, torch.nan) for share in shares)
    median = losses.quantile(0.5, dim=-1)
    return ParallelogramScores(median, below, zeros, median / unrelated.quantile(0.5, dim=-1))


def ranked_quadruples(losses: Tensor, pairs: Tensor, drawn: Tensor, ranks: Sequence[int]) -> Tensor:
    """The quadruples with the given ranks among all that are drawn, the smallest loss first.

    Only quadruples of four different tokens have a rank, since the others are no parallelograms,
    and of the draws of the same four (in either order of the pairs) one.

    Args:
        losses: (Q,) of one model.
        pairs: (P, 2) token ids of the pairs' words.
        drawn: (Q, 2) indices of pairs.
        ranks: Ascending, from 0; those that are not reached are left out.

    Returns:
        (R,) indices of rows of ``drawn``.
    """
    losses, pairs, drawn = losses.cpu(), pairs.cpu(), drawn.cpu()
    tokens = pairs[drawn]  # (Q, 2, 2)
    i, j, m, n = tokens.flatten(1).unbind(dim=1)
    whole = (i != j) & (i != m) & (i != n) & (j != m) & (j != n) & (m != n)
    flip = (i > m)[:, None, None]  # i = m only where the quadruple is left out
    ordered = torch.where(flip, tokens.flip(1), tokens).flatten(1)
    order = torch.argsort(losses, stable=True)
    order = order[whole[order]]
    _, group = torch.unique(ordered[order], dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1 if len(group) else 0,), len(order))
    first.scatter_reduce_(0, group, torch.arange(len(order)), "amin")
    distinct = order[first.sort().values]
    return distinct[[rank for rank in ranks if rank < len(distinct)]]
