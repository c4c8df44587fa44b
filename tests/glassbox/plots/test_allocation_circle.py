import numpy as np
import pytest

from glassbox.plots import allocation_circle
from glassbox.plots.allocation_circle import choose_lines, cosines_of, rank_correlation
from glassbox.plots.allocation_legend import NEGATIVE, POSITIVE, RADIUS
from glassbox.plots.stress_layout import majorize, push_apart, stress, stress_layout

RNG = np.random.default_rng(0)


def sentence(count: int, width: int = 30):
    """Products, capacities by their definition, and words; neighbors in pairs are alike."""
    states = RNG.normal(size=(count, width)) * RNG.uniform(0.5, 2, (count, 1))
    states[1::2] += RNG.choice([-1.5, 1.5], (len(states[1::2]), 1)) * states[::2][: count // 2]
    products = states @ states.T
    capacity = np.diag(products) ** 2 / (products**2).sum(axis=1)
    return capacity, products, [f"word{i}" for i in range(count)]


def picture(figure):
    figure.canvas.draw()
    axes = figure.axes[0]
    return axes, np.array([patch.center for patch in axes.patches])


def test_areas_of_circles_are_the_capacities_at_true_size():
    capacity, products, words = sentence(12)
    axes, _ = picture(allocation_circle(capacity, products, words))
    radii = np.array([patch.radius for patch in axes.patches])
    assert np.pi * radii**2 == pytest.approx(np.pi * RADIUS**2 * capacity)
    pixels = axes.patches[0].get_window_extent().width * 72 / axes.figure.dpi
    assert pixels == pytest.approx(2 * radii[0], rel=1e-6)  # a unit is a typographic point


def test_lines_join_each_word_to_its_strongest_partners_and_are_colored_by_sign():
    from matplotlib.colors import to_rgb

    capacity, products, words = sentence(9)
    figure = allocation_circle(capacity, products, words)
    axes, points = picture(figure)
    norms = np.sqrt(np.diag(products))
    cosines = products / np.outer(norms, norms)
    expected = set()
    for i in range(9):
        others = sorted((j for j in range(9) if j != i), key=lambda j: -abs(cosines[i, j]))
        for partner in others[:2]:
            if abs(cosines[i, partner]) >= 0.1:
                expected.add((min(i, partner), max(i, partner)))
    (lines,) = axes.collections
    by_pair = {}
    for segment, color, width in zip(
        lines.get_segments(), lines.get_colors(), lines.get_linewidths(), strict=True
    ):
        ends = [int(np.argmin(np.hypot(*(points - end).T))) for end in segment]
        by_pair[tuple(ends)] = (tuple(color[:3]), width)
    assert set(by_pair) == expected
    for (i, j), (color, _) in by_pair.items():
        assert color == pytest.approx(to_rgb(POSITIVE if products[i, j] > 0 else NEGATIVE))
    strengths = [abs(cosines[pair]) for pair in by_pair]
    widths = [width for _, width in by_pair.values()]
    assert np.argsort(strengths).tolist() == np.argsort(widths).tolist()


def test_strong_pairs_lie_closer_than_weak_ones():
    capacity, products, words = sentence(20)
    axes, points = picture(allocation_circle(capacity, products, words))
    radii = np.array([patch.radius for patch in axes.patches])
    gaps = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    gaps -= radii[:, None] + radii[None]
    alike = gaps[np.arange(0, 20, 2), np.arange(1, 20, 2)]
    others = gaps[np.triu_indices(20, 2)]
    assert alike.max() < np.median(others)
    assert np.median(alike) < 0.5 * np.median(others)


@pytest.mark.parametrize("count", [1, 8, 80])
def test_words_and_circles_do_not_overlap_and_lie_in_the_figure(count):
    capacity, products, words = sentence(count)
    figure = allocation_circle(capacity, products, words, important=np.arange(count) % 3 == 0)
    axes, points = picture(figure)
    assert [text.get_text() for text in axes.texts] == words[:60]
    boxes = [text.get_window_extent() for text in axes.texts]
    discs = [patch.get_window_extent() for patch in axes.patches]
    for i in range(len(boxes)):
        assert axes.get_window_extent().fully_contains(*boxes[i].min)
        assert axes.get_window_extent().fully_contains(*boxes[i].max)
        for j in range(i):
            assert not boxes[i].overlaps(boxes[j]), (words[i], words[j])
            radii = axes.patches[i].radius + axes.patches[j].radius
            assert np.hypot(*(points[i] - points[j])) > radii
        for j in set(range(len(boxes))) - {i}:
            assert not boxes[i].overlaps(discs[j]), (words[i], words[j])


@pytest.mark.parametrize("states", [np.ones((12, 8)), np.zeros((5, 8)), np.eye(10)])
def test_equal_zero_and_orthogonal_representations_can_be_drawn(states):
    products = states @ states.T
    total = (products**2).sum(axis=1)
    capacity = np.divide(np.diag(products) ** 2, total, out=np.zeros(len(total)), where=total > 0)
    axes, points = picture(allocation_circle(capacity, products, ["w"] * len(states)))
    assert np.isfinite(points).all()
    assert len(axes.lines) == (len(states) if not states.any() else 0)  # a dot for each zero
    assert bool(axes.collections) == (states == 1).all()


def test_a_word_that_is_nan_is_a_ring_without_lines():
    capacity, products, words = sentence(6)
    capacity[2] = np.nan
    products[2] = products[:, 2] = np.nan
    figure = allocation_circle(capacity, products, ["$a_b$", "\\", *words[2:]])
    axes, points = picture(figure)
    assert np.isfinite(points).all()
    assert axes.patches[2].get_facecolor()[:3] == (1, 1, 1)
    for segment in axes.collections[0].get_segments():
        assert (np.hypot(*(segment - points[2]).T) > 1).all()


def test_of_equally_strong_partners_the_earlier_word_comes_first():
    cosines = np.full((4, 4), 0.5)
    np.fill_diagonal(cosines, np.nan)
    assert choose_lines(cosines).pairs.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3]]


def test_cosines_and_rank_correlations_agree_with_scipy():
    from scipy.spatial.distance import cdist
    from scipy.stats import spearmanr

    states = RNG.normal(size=(6, 4))
    cosines, expected = cosines_of(states @ states.T), 1 - cdist(states, states, "cosine")
    off = ~np.eye(6, dtype=bool)
    assert cosines[off] == pytest.approx(expected[off]) and np.isnan(np.diag(cosines)).all()
    one, two = RNG.integers(0, 4, 20).astype(float), RNG.normal(size=20)
    assert rank_correlation(one, two) == pytest.approx(spearmanr(one, two).statistic)
    assert np.isnan(rank_correlation(np.ones(4), two[:4]))


def test_distances_that_fit_into_a_plane_are_kept():
    points = RNG.normal(size=(9, 2)) * 100
    distances = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    places = stress_layout(distances, np.zeros((9, 4)))
    again = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    assert again == pytest.approx(distances, rel=1e-3, abs=1e-3)


def test_majorization_lowers_the_stress_at_every_step():
    distances = RNG.uniform(1, 3, (10, 10))
    distances = distances + distances.T
    points = RNG.normal(size=(10, 2))
    stresses = []
    for _ in range(20):
        stresses.append(stress(distances, points))
        points = majorize(distances, points, iterations=1)
    assert (np.diff(stresses) <= 1e-12).all() and stresses[-1] < 0.7 * stresses[0]


def test_boxes_that_coincide_are_pushed_apart():
    boxes = np.tile([8.0, 3.0, 8.0, 3.0], (15, 1))
    places = push_apart(np.zeros((15, 2)), boxes)
    for i in range(15):
        for j in range(i):
            apart = abs(places[i] - places[j])
            assert apart[0] >= 16 or apart[1] >= 6


def test_values_that_are_not_capacities_or_inner_products_are_refused():
    capacity, products, words = sentence(4)
    with pytest.raises(ValueError, match="capacity"):
        allocation_circle(capacity * 0 + 2, products, words)
    squares = [[1, 9, 0, 0], [9, 1, 0, 0], *np.eye(4)[2:]]
    for wrong in (np.triu(products), squares, -products):  # asymmetric, too large, negative
        with pytest.raises(ValueError, match="products"):
            allocation_circle(capacity, wrong, words)
    with pytest.raises(ValueError, match="words"):
        allocation_circle([], np.zeros((0, 0)), [])
