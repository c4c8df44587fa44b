import math

import numpy as np
import pytest
import torch

from glassbox.metrics import analogy_ranks, analogy_scores, draw_quadruples

PAIRS = torch.tensor([[0, 5], [7, 2], [3, 13], [9, 11], [30, 31]])


def embedding(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(*shape, generator=generator) + 1


def by_hand(points: np.ndarray, drawn, similarity: str, partners=None) -> list[float]:
    ranks = []
    for row, (a, b) in enumerate(drawn.tolist()):
        (i, j), (m, n) = PAIRS[a].tolist(), PAIRS[b].tolist()
        n = n if partners is None else int(PAIRS[partners[row, 1], 1])
        query = points[j] - points[i] + points[m]

        def far(word, query=query):
            if similarity == "euclidean":
                return np.linalg.norm(points[word] - query)
            return -points[word] @ query / np.linalg.norm(points[word])

        others = [word for word in range(len(points)) if word not in (i, j, m, n)]
        known = n not in (i, j, m)
        ranks.append(1 + sum(far(word) < far(n) for word in others) if known else math.nan)
    return ranks


@pytest.mark.parametrize("similarity", ["euclidean", "cosine"])
@pytest.mark.parametrize("entries", [1, 130, 1 << 24], ids=["one", "few", "all"])
def test_ranks_match_a_loop_over_all_words(similarity, entries, monkeypatch):
    monkeypatch.setattr("glassbox.metrics.analogies.ENTRIES", entries)
    points, drawn = embedding(40, 6), draw_quadruples(len(PAIRS), 30)
    expected = by_hand(points.double().numpy(), drawn, similarity)
    assert len(set(expected)) > 5
    assert analogy_ranks(points, PAIRS, drawn, similarity).tolist() == expected
    both = analogy_ranks(torch.stack([points + 1, points]), PAIRS, drawn, similarity)
    assert both[1].tolist() == expected


def test_an_unrelated_answer_is_the_second_word_of_another_pair():
    points, drawn = embedding(40, 6), draw_quadruples(len(PAIRS), 30)
    partners = draw_quadruples(len(PAIRS), 30, seed=1)
    expected = by_hand(points.double().numpy(), drawn, "euclidean", partners)
    ranks = analogy_ranks(points, PAIRS, drawn, partners=partners)
    assert ranks.tolist() == pytest.approx(expected, nan_ok=True)
    assert expected != by_hand(points.double().numpy(), drawn, "euclidean")


def test_degenerate_quadruples_have_no_rank():
    pairs = torch.tensor([[0, 1], [2, 1], [3, 3], [4, 5]])
    drawn = torch.tensor([[0, 1], [2, 3], [3, 2], [3, 0]])
    ranks = analogy_ranks(embedding(20, 4), pairs, drawn)
    assert ranks.isnan().tolist() == [True, True, True, False]


def test_scores_ignore_missing_ranks():
    nan = math.nan
    ranks = torch.tensor([[1.0, 10.0, 11.0, 500.0, nan], [nan] * 5])
    unrelated = torch.tensor([[20.0, 21.0, nan, 22.0, 3.0], [1.0] * 5])
    scores = analogy_scores(ranks, unrelated)
    assert [float(values[0]) for values in scores] == pytest.approx([10.5, 0.25, 0.5, 21 / 41])
    assert all(values[1].isnan() for values in scores)


def test_unknown_similarity_raises():
    with pytest.raises(ValueError, match="similarity"):
        analogy_ranks(embedding(9, 2), PAIRS[:2], torch.tensor([[0, 1]]), "dot")  # type: ignore[arg-type]
