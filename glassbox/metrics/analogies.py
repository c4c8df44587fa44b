"""Analogies: a − b + c ≈ d, scored by how many other words are closer to that point than d."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from glassbox.metrics._tensors import check_points

ENTRIES = 1 << 24  # of the similarity matrix (queries × vocabulary) in memory at once


class AnalogyScores(NamedTuple):
    """Statistics of many ranks; (...) each, nan where there is no rank."""

    median_rank: Tensor
    first: Tensor  # fraction with rank 1
    top_10: Tensor  # fraction with a rank up to 10
    relative: Tensor  # median over that of unrelated answers: 1 if the relation is not represented


def analogy_ranks(
    points: Tensor,
    pairs: Tensor,
    drawn: Tensor,
    similarity: Literal["euclidean", "cosine"] = "euclidean",
    partners: Tensor | None = None,
) -> Tensor:
    """Rank of n among all words by their distance to E_j − E_i + E_m, in the full space.

    The three given words are not candidates. A quadruple has no rank (nan) if n is one of them, or
    if i and j are the same token and so show no relation.

    Distances are computed in float32 (float64 for float64 points) after centering, which does not
    change them; words within rounding error of each other share a rank. Cosines are of the
    embedding without centering. Memory is bounded for any vocabulary: blocks of queries are
    compared with all words, in Q · V · E multiplications.

    Args:
        points: (..., V, E) embeddings.
        pairs: (P, 2) token ids: i is to j as m is to n.
        drawn: (Q, 2) indices of the pairs (i, j) and (m, n).
        similarity: Euclidean distance, as in the parallelogram loss and harmonic heads, or cosine,
            as is usual for word vectors.
        partners: (Q, 2) indices of pairs whose second word replaces n, for unrelated answers of the
            same kind; None ranks n.

    Returns:
        (..., Q) ranks from 1.

    Raises:
        ValueError: ``points`` is not a floating-point (..., V, E), or ``similarity`` is neither.
    """
    check_points(points)
    if similarity not in ("euclidean", "cosine"):
        raise ValueError(f"similarity is {similarity!r}; choose euclidean or cosine.")
    points = points.detach()
    if points.dim() > 2:
        ranks = [analogy_ranks(cloud, pairs, drawn, similarity, partners) for cloud in points]
        return torch.stack(ranks)
    cloud = points if points.dtype == torch.float64 else points.float()
    i, j, m, n = pairs[drawn].flatten(1).to(cloud.device).unbind(dim=1)  # (Q,) each
    if partners is not None:
        n = pairs[partners[:, 1], 1].to(cloud.device)
    if similarity == "euclidean":
        cloud = cloud - cloud.mean(dim=0)  # shorter vectors lose fewer digits in products
        offset = -0.5 * cloud.square().sum(dim=1)  # |q - w|² = |q|² - 2 (q·w + offset)
        words = cloud
    else:
        offset = cloud.new_zeros(len(cloud))
        words = torch.nn.functional.normalize(cloud, dim=1)
    queries, given = cloud[j] - cloud[i] + cloud[m], torch.stack([i, j, m], dim=1)
    size = max(1, ENTRIES // len(cloud))
    blocks = zip(queries.split(size), given.split(size), n.split(size), strict=True)
    ranks = [_ranks(words, offset, *block) for block in blocks]
    known = (n != i) & (n != j) & (n != m) & (i != j) & cloud.isfinite().all()
    return torch.cat(ranks).to(cloud.dtype).where(known, torch.nan)


def _ranks(words: Tensor, offset: Tensor, queries: Tensor, given: Tensor, target: Tensor) -> Tensor:
    """1 + number of words closer than the target, (block,), without the `given` (block, 3)."""
    closeness = torch.addmm(offset, queries, words.mT)  # (block, V)
    own = closeness.gather(1, target[:, None])
    closeness.scatter_(1, given, -torch.inf)
    return (closeness > own).sum(dim=1) + 1


def analogy_scores(ranks: Tensor, unrelated: Tensor) -> AnalogyScores:
    """Median rank, fraction of rank 1 and of ranks up to 10, and the median relative to unrelated.

    Low ranks alone do not show that a relation is represented: words that are close to all others,
    such as frequent ones, have low ranks in any analogy.

    Args:
        ranks: (..., Q), nan where there is none.
        unrelated: (..., Q) ranks of other pairs' second words for the same queries.
    """
    known = ~ranks.isnan()
    number = known.sum(dim=-1)
    first, top = (
        ((ranks <= limit).sum(dim=-1) / number).where(number > 0, torch.nan) for limit in (1, 10)
    )
    median = ranks.nanquantile(0.5, dim=-1)
    return AnalogyScores(median, first, top, median / unrelated.nanquantile(0.5, dim=-1))
