import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from glassbox.metrics import (
    draw_quadruples,
    draw_unrelated,
    parallelogram_losses,
    parallelogram_scores,
    project_vocabulary,
    ranked_quadruples,
)

PAIRS = torch.tensor([[0, 5], [7, 2], [3, 3], [9, 11], [30, 31]])


def embedding(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return points * torch.linspace(3, 1, shape[-1], dtype=torch.float64) + 2


def losses(points, drawn=None, components=2, **options):
    space = project_vocabulary(points, components)
    drawn = draw_quadruples(len(PAIRS), 60) if drawn is None else drawn
    return parallelogram_losses(space.coordinates, space.scale, PAIRS, drawn, **options)


@pytest.mark.parametrize("components", [1, 2, 5])
def test_losses_match_equation_5(components):
    points, drawn = embedding(40, 6), draw_quadruples(len(PAIRS), 60)
    flat = PCA(components).fit_transform(points.numpy())
    sigma = math.sqrt(sum(float(row @ row) for row in flat) / len(flat))
    expected = []
    for a, b in drawn.tolist():
        (i, j), (m, n) = PAIRS[a].tolist(), PAIRS[b].tolist()
        expected.append(np.linalg.norm(flat[i] + flat[n] - flat[j] - flat[m]) / sigma)
    np.testing.assert_allclose(losses(points, drawn, components), expected, rtol=1e-9)
    squared = losses(points, drawn, components, squared=True)
    np.testing.assert_allclose(squared, np.square(expected), rtol=1e-9)


def test_degenerate_quadruples_have_exactly_zero_loss():
    points = embedding(40, 6).float()
    space = project_vocabulary(points)
    pairs = torch.tensor([[0, 5], [0, 5], [8, 8], [9, 9]])
    drawn = torch.tensor([[0, 1], [2, 3], [0, 2]])
    result = parallelogram_losses(space.coordinates, space.scale, pairs, drawn)
    assert result[:2].tolist() == [0.0, 0.0] and result[2] > 0


def test_partners_replace_the_second_words():
    points = embedding(40, 6)
    drawn, partners = torch.tensor([[0, 1]]), torch.tensor([[3, 4]])
    result = losses(points, drawn, None, partners=partners)
    i, j, m, n = points[[0, 11, 7, 31]]
    sigma = (points - points.mean(0)).square().sum(1).mean().sqrt()
    assert result.item() == pytest.approx(float((i + n - j - m).norm() / sigma))
    own = losses(points, drawn, None, partners=drawn)
    torch.testing.assert_close(own, losses(points, drawn, None))


def test_draws_are_uniform_over_different_pairs_and_depend_only_on_the_seed():
    drawn = draw_quadruples(5, 20000, seed=3)
    assert (drawn[:, 0] != drawn[:, 1]).all()
    counts = torch.zeros(5, 5).index_put_(tuple(drawn.T), torch.ones(20000), accumulate=True)
    assert counts.diagonal().eq(0).all()
    assert ((counts[~torch.eye(5, dtype=torch.bool)] - 1000).abs() < 150).all()
    torch.manual_seed(99)
    assert drawn.equal(draw_quadruples(5, 20000, seed=3))
    assert not drawn.equal(draw_quadruples(5, 20000, seed=4))
    with pytest.raises(ValueError, match="num_pairs"):
        draw_quadruples(1)


@pytest.mark.parametrize("num_pairs", [2, 5])
def test_an_unrelated_pair_is_any_other_pair(num_pairs):
    drawn = draw_quadruples(num_pairs, 20000, seed=3)
    others = draw_unrelated(drawn, num_pairs, seed=3)
    assert others.shape == drawn.shape and not (others == drawn).any()
    for place in (0, 1):
        counts = torch.bincount(others[drawn[:, place] == 0, place], minlength=num_pairs)
        assert counts[0] == 0
        assert counts[1:] / counts.sum() == pytest.approx(1 / (num_pairs - 1), abs=0.03)
    assert others.equal(draw_unrelated(drawn, num_pairs, seed=3))
    if num_pairs > 2:
        assert not others.equal(draw_unrelated(drawn, num_pairs, seed=4))


def test_scores_are_median_fractions_and_ratio():
    given = torch.tensor([[0.0, 0.0, 0.5, 1.0, 3.0], [2.0, 2.0, 4.0, 6.0, 8.0]])
    scores = parallelogram_scores(given, 2 * given.flip(0))
    assert scores.median.tolist() == [0.5, 4.0]
    assert scores.below_1.tolist() == pytest.approx([0.6, 0.0])
    assert scores.zeros.tolist() == pytest.approx([0.4, 0.0])
    assert scores.relative.tolist() == pytest.approx([0.5 / 8, 4 / 1])
    given[0, 2] = torch.nan
    for values in parallelogram_scores(given, given):
        assert values[0].isnan() and values[1].isfinite()


def test_ranks_are_among_distinct_quadruples_of_four_tokens():
    pairs = torch.tensor([[0, 1], [2, 3], [4, 4], [0, 5], [6, 7], [2, 3]])
    drawn = torch.tensor([[0, 1], [1, 0], [2, 1], [0, 3], [0, 4], [4, 1], [5, 0], [1, 5]])
    of_draw = torch.tensor([0.3, 0.3, 0.01, 0.02, 0.2, 0.9, 0.3, 0.0])
    assert ranked_quadruples(of_draw, pairs, drawn, (0, 1, 2)).tolist() == [4, 0, 5]
    assert ranked_quadruples(of_draw, pairs, drawn, (1, 10)).tolist() == [0]
    assert ranked_quadruples(of_draw[2:4], pairs, drawn[2:4], (0, 1)).tolist() == []
