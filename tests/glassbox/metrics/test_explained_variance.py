import sys

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from glassbox.metrics import (
    cumulative_explained_variance,
    explained_variance,
    principal_components,
    project_vocabulary,
)


def _clouds(*shape: int) -> torch.Tensor:
    """Gaussian clouds with distinct variances, off the origin, so that components are unique."""
    generator = torch.Generator().manual_seed(0)
    cloud = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return cloud * torch.linspace(1, 3, shape[-1], dtype=torch.float64) + 5


@pytest.mark.parametrize("num_points", [40, 7])  # more and fewer points than the 12 features
def test_fractions_agree_with_sklearn_for_every_seed(num_points):
    clouds = _clouds(2, 3, num_points, 12)
    fractions = explained_variance(clouds)
    assert fractions.shape == (2, 3, 12)
    torch.testing.assert_close(cumulative_explained_variance(clouds), fractions.cumsum(dim=-1))
    rank = min(num_points, 12)
    for index in np.ndindex(2, 3):
        expected = PCA().fit(clouds[index].numpy()).explained_variance_ratio_
        np.testing.assert_allclose(fractions[index][:rank], expected, atol=1e-12)
        np.testing.assert_allclose(fractions[index][rank:], 0, atol=1e-12)


def test_coordinates_agree_with_sklearn_up_to_sign():
    clouds = _clouds(3, 40, 12)
    coordinates = principal_components(clouds, 4)
    for cloud, ours in zip(clouds, coordinates, strict=True):
        expected = PCA(4).fit_transform(cloud.numpy())
        flip = np.sign((ours.numpy() * expected).sum(axis=0))
        np.testing.assert_allclose(ours, flip * expected, atol=1e-9)


def test_largest_loading_of_each_component_is_positive():
    clouds = _clouds(8, 40, 6)
    coordinates = principal_components(clouds, 6)
    # With all components kept, loadings are the least-squares map from the points to coordinates.
    centered = clouds - clouds.mean(dim=1, keepdim=True)
    loadings = torch.linalg.lstsq(centered, coordinates).solution
    strongest = loadings.gather(1, loadings.abs().argmax(dim=1, keepdim=True))
    assert (strongest > 0).all()


def test_coinciding_points_have_no_variance():
    same = _clouds(2, 1, 16).expand(2, 31, 16)
    # A plain mean leaves rounding residue, which would pass for a direction.
    assert (same - same.mean(dim=-2, keepdim=True)).ne(0).any()
    assert explained_variance(same).eq(0).all()
    assert cumulative_explained_variance(same).eq(0).all()
    assert principal_components(same).eq(0).all()


@pytest.mark.parametrize("num_components", [0, 5])
def test_number_of_components_out_of_range_raises(num_components):
    for function in (principal_components, project_vocabulary):
        with pytest.raises(ValueError, match="num_components"):
            function(_clouds(10, 4), num_components)


@pytest.mark.parametrize("rows", [60, 10**6], ids=["blocks", "one"])
def test_project_vocabulary_agrees_with_sklearn_for_every_block_size(rows, monkeypatch):
    # By way of sys.modules, since the package has a function of the module's name.
    monkeypatch.setattr(sys.modules["glassbox.metrics.explained_variance"], "ROWS", rows)
    points = _clouds(3, 100, 8)
    result = project_vocabulary(points, 3)
    for seed, cloud in enumerate(points.numpy()):
        pca = PCA(3)
        expected = pca.fit_transform(cloud)
        ours = result.coordinates[seed].numpy()
        np.testing.assert_allclose(ours, expected * np.sign((ours * expected).sum(0)), atol=1e-9)
        np.testing.assert_allclose(result.fractions[seed], pca.explained_variance_ratio_)
        scale = np.sqrt((expected**2).sum(1).mean())
        assert result.scale[seed].item() == pytest.approx(scale)
    whole = project_vocabulary(points, None)
    torch.testing.assert_close(whole.coordinates, points - points.mean(-2, keepdim=True))
    torch.testing.assert_close(whole.fractions, explained_variance(points))


def test_coinciding_points_have_scale_zero():
    result = project_vocabulary(_clouds(1, 16).expand(30, 16), 2)
    assert result.scale == 0 and result.coordinates.eq(0).all() and result.fractions.eq(0).all()
