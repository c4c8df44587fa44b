import numpy as np
import pytest
from matplotlib.collections import LineCollection

from glassbox.plots import feature_vectors, first_features
from glassbox.plots.feature_arrays import clusters_of
from glassbox.plots.feature_projection import principal_frame, project

RNG = np.random.default_rng(0)


def ring(count: int = 90, radius: float = 0.2, height: float = 0.0):
    """Rows on a circle that rises and falls twice, rotated at random."""
    angle = 2 * np.pi * np.arange(count) / count
    rows = np.column_stack([np.cos(angle), np.sin(angle), height * np.cos(2 * angle)]) * radius
    return rows @ np.linalg.qr(RNG.normal(size=(3, 3)))[0]


def points(axes):
    """Centers and colors of the points in color, the largest scatter of the panel."""
    scatter = max(axes.collections, key=lambda c: 0 if isinstance(c, LineCollection) else 1)
    return np.asarray(scatter.get_offsets()), scatter.get_facecolors()


def pictures(figure):
    return [axes for axes in figure.axes if axes.get_aspect() == 1]


def test_a_flat_ring_is_a_circle_from_above_and_an_ellipse_at_an_angle():
    oblique, top = pictures(feature_vectors(ring()))
    radii = np.linalg.norm(points(top)[0], axis=1)
    assert radii == pytest.approx(np.full(90, 0.2))
    flattened = np.linalg.norm(points(oblique)[0], axis=1)
    assert flattened.max() == pytest.approx(0.2, rel=1e-3)
    assert flattened.min() == pytest.approx(0.2 * np.sin(np.deg2rad(25)), rel=1e-3)


def test_rings_start_at_the_right_and_run_counterclockwise_for_any_rotation():
    for rows in (ring(), ring()[::-1], ring(height=0.3)):
        places, _ = project(rows, principal_frame(rows), "top")
        angles = np.unwrap(np.arctan2(places[:, 1], places[:, 0]))
        assert angles[0] == pytest.approx(0)
        assert angles[-1] == pytest.approx(2 * np.pi * 89 / 90, abs=0.05)


def test_frames_are_orthonormal_and_views_keep_lengths_in_depth():
    rows = RNG.normal(size=(12, 5))
    frame = principal_frame(rows)
    assert frame.T @ frame == pytest.approx(np.eye(3))
    whole = (rows @ frame) ** 2
    for view in ("oblique", "top"):
        places, near = project(rows, frame, view)
        assert (places**2).sum(axis=1) + near**2 == pytest.approx(whole.sum(axis=1))


def test_consecutive_circular_features_are_joined_and_the_last_to_the_first():
    (axes, _) = pictures(feature_vectors(ring(12)))
    (lines,) = (c for c in axes.collections if isinstance(c, LineCollection))
    segments = np.asarray(lines.get_segments())
    assert segments.shape == (12, 2, 2)
    assert segments[1:, 0] == pytest.approx(segments[:-1, 1])
    assert segments[-1, 1] == pytest.approx(segments[0, 0])


def test_tight_clusters_are_counted_and_smooth_rings_are_not():
    angle = np.repeat([0.0, 2.0, 4.0], [5, 3, 2])
    rows = np.column_stack([np.cos(angle), np.sin(angle), 0 * angle])
    rows += 0.001 * RNG.normal(size=rows.shape)
    assert [len(cluster) for cluster in clusters_of(rows)] == [5, 3, 2]
    _, below = pictures(feature_vectors(rows))
    assert sorted(t.get_text() for t in below.texts if t.get_text().isdigit()) == ["2", "3", "5"]
    assert clusters_of(ring(400)) == []  # linked all round, and as wide as a ring
    assert clusters_of(ring(90)) == []


def test_the_first_features_are_colored_in_one_frame_and_the_others_gray():
    rows = ring(height=0.2)
    panels = pictures(first_features(rows))
    names = [axes.texts[0].get_text() for axes in panels]
    assert names == ["first 20", "first 45", "first 60", "first 75", "all 90"]
    for axes, count in zip(panels, (20, 45, 60, 75, 90), strict=True):
        scatters = [c for c in axes.collections if not isinstance(c, LineCollection)]
        assert sorted(len(c.get_offsets()) for c in scatters) == sorted(
            c for c in (90 - count, count) if c
        )
        (lines,) = (c for c in axes.collections if isinstance(c, LineCollection))
        assert len(lines.get_segments()) == (count if count == 90 else count - 1)
    whole = {tuple(place) for place in points(panels[-1])[0].round(9).tolist()}
    early = [c for c in panels[0].collections if len(c.get_offsets()) == 20]
    assert {tuple(p) for p in np.asarray(early[0].get_offsets()).round(9).tolist()} <= whole
    assert len({axes.get_xlim() for axes in panels}) == 1
