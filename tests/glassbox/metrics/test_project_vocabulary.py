import sys

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from glassbox.metrics import explained_variance, principal_components, project_vocabulary


def clouds(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return points * torch.linspace(1, 3, shape[-1], dtype=torch.float64) + 5


@pytest.mark.parametrize("rows", [7, 60, 10**6], ids=["blocks", "uneven", "one"])
def test_coordinates_scale_and_shares_agree_with_sklearn_whatever_the_blocks(rows, monkeypatch):
    # By way of sys.modules, since the package has a function of the module's name.
    monkeypatch.setattr(sys.modules["glassbox.metrics.explained_variance"], "ROWS", rows)
    points = clouds(3, 100, 8)
    found = project_vocabulary(points, 3)
    for seed, cloud in enumerate(points.numpy()):
        pca = PCA(3)
        expected = pca.fit_transform(cloud)
        ours = found.coordinates[seed].numpy()
        np.testing.assert_allclose(ours, expected * np.sign((ours * expected).sum(0)), atol=1e-9)
        np.testing.assert_allclose(found.shares[seed], pca.explained_variance_ratio_)
        scale = np.sqrt((expected**2).sum(1).mean())
        assert found.scale[seed].item() == pytest.approx(scale)


def test_the_whole_space_is_the_centerd_cloud():
    points = clouds(40, 6)
    found = project_vocabulary(points, None)
    torch.testing.assert_close(found.coordinates, points - points.mean(0))
    torch.testing.assert_close(found.shares, explained_variance(points))
    expected = (points - points.mean(0)).square().sum(1).mean().sqrt()
    torch.testing.assert_close(found.scale, expected)


def test_it_is_what_principal_components_gives():
    points = clouds(2, 50, 6).float()
    found = project_vocabulary(points, 2)
    torch.testing.assert_close(found.coordinates, principal_components(points, 2))
    assert found.coordinates.dtype == found.scale.dtype == torch.float32


@pytest.mark.parametrize("components", [2, None])
def test_a_diverged_model_is_nan_and_leaves_the_others_alone(components):
    points = clouds(2, 30, 4)
    alone = project_vocabulary(points[1:], components)
    points[0, 3, 1] = torch.inf
    found = project_vocabulary(points, components)
    for both, one in zip(found, alone, strict=True):
        assert both[0].isnan().all()
        torch.testing.assert_close(both[1:], one)


def test_coinciding_points_have_scale_zero():
    found = project_vocabulary(clouds(1, 16).expand(30, 16), 2)
    assert found.scale == 0 and found.coordinates.eq(0).all() and found.shares.eq(0).all()


@pytest.mark.parametrize("number", [0, 9])
def test_impossible_numbers_of_components_are_refused(number):
    with pytest.raises(
        ValueError, match=f"between 1 and the 8 features of the points, got {number}"
    ):
        project_vocabulary(clouds(20, 8), number)
