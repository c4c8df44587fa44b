"""Analogies: a − b + c ≈ d, and how many other words lie closer to that point than d does."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from glassbox.metrics._tensors import check_points

ENTRIES = 1 << 24  # of a similarity matrix (queries × vocabulary) that are held at once


class AnalogyScores(NamedTuple):
    """What is told of many ranks; (...) each, nan where there is no rank."""

    median_rank: Tensor
    first: Tensor  # share with rank 1
    top_10: Tensor  # share with a rank up to 10
    relative: Tensor  # median over that of unrelated answers: 1 where the relation is unseen


def analogy_ranks(
    points: Tensor,
    pairs: Tensor,
    drawn: Tensor,
    similarity: Literal["euclidean", "cosine"] = "euclidean",
    partners: Tensor | None = None,
) -> Tensor:
    """Rank of n among all words by how close they are to E_j − E_i + E_m, in the full space.

    The three given words are no candidates. A quadruple has no rank (nan) where n is one of them,
    or where i and j end in the same token and so show no relation.

    Distances are of the centerd embedding, which they do not depend on, in float32 (float64 for
    float64 points): words that are closer than rounding can tell share a rank. Cosines are of the
    embedding as it is. Memory is bounded, whatever the vocabulary: blocks of queries against all
    words, the time of Q · V · E multiplications.

    Args:
        points: (..., V, E) embeddings.
        pairs: (P, 2) token ids: i is to j as m is to n.
        drawn: (Q, 2) indices of the pairs (i, j) and (m, n).
        similarity: Euclidean distance, as the parallelogram loss has it and a harmonic head, or
            cosine, as is usual for word vectors.
        partners: (Q, 2) indices of the pairs whose second word is asked for in n's place, for
            answers of the same kind that are not related; None asks for n.

    Returns:
        (..., Q) ranks from 1.

    Raises:
        ValueError: ``points`` is not a floating-point (..., V, E), or ``similarity`` is neither.
    """
    check_points(points)
    if similarity not in ("euclidean", "cosine"):
        raise ValueError(f"similarity is {similarity!r}; choose euclidean or cosine")
    points = points.detach()
    if points.dim() > 2:
        ranks = [analogy_ranks(cloud, pairs, drawn, similarity, partners) for cloud in points]
        return torch.stack(ranks)
    cloud = points if points.dtype == torch.float64 else points.float()
    i, j, m, n = pairs[drawn].flatten(1).to(cloud.device).unbind(dim=1)  # (Q,) each
    if partners is not None:
        n = pairs[partners[:, 1], 1].to(cloud.device)
    if similarity == "euclidean":
        cloud = cloud - cloud.mean(dim=0)  # short vectors lose fewer digits in a product
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
    """1 + number of words closer than the target, (block,), the `given` (block, 3) left out."""
    closeness = torch.addmm(offset, queries, words.mT)  # (block, V)
    own = closeness.gather(1, target[:, None])
    closeness.scatter_(1, given, -torch.inf)
    return (closeness > own).sum(dim=1) + 1


def analogy_scores(ranks: Tensor, unrelated: Tensor) -> AnalogyScores:
    """Median rank, share of rank 1 and of ranks up to 10, and the median relative to unrelated.

    Ranks alone do not tell whether a relation is seen: words that are near to everything, as
    frequent ones can be, have low ranks whatever is asked.

    Args:
        ranks: (..., Q), nan where there is none.
        unrelated: (..., Q) ranks of other pairs' second words at the same points.
    """
    known = ~ranks.isnan()
    number = known.sum(dim=-1)
    first, top = (
        ((ranks <= limit).sum(dim=-1) / number).where(number > 0, torch.nan) for limit in (1, 10)
    )
    median = ranks.nanquantile(0.5, dim=-1)
    return AnalogyScores(median, first, top, median / unrelated.nanquantile(0.5, dim=-1))
