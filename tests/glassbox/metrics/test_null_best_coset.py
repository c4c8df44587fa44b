import pytest
import torch

from glassbox.metrics import best_coset, coset_silhouettes, null_best_coset


def test_null_is_the_best_coset_of_gaussian_embeddings():
    # More than one batch, so that none is lost, doubled or out of order.
    generator = torch.Generator().manual_seed(5)
    clouds = torch.randn(300, 24, 16, generator=generator)
    torch.testing.assert_close(null_best_coset(300, seed=5), best_coset(clouds)[0])


def test_null_of_sixteen_dimensions_is_as_measured():
    null = null_best_coset(3000)
    assert null.shape == (3000,)
    assert float(null.mean()) == pytest.approx(0.006, abs=0.004)
    assert float(null.std()) == pytest.approx(0.038, abs=0.002)
    assert float(null.quantile(0.95)) == pytest.approx(0.081, abs=0.008)
    assert float(null.quantile(0.99)) == pytest.approx(0.122, abs=0.015)


def test_null_depends_on_its_seed_and_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = null_best_coset(20)
    assert torch.rand(1) == expected
    assert torch.equal(first, null_best_coset(20))
    assert not torch.equal(first, null_best_coset(20, seed=1))


def test_embeddings_of_two_features_are_scored_as_they_lie():
    clouds = torch.randn(50, 24, 2, generator=torch.Generator().manual_seed(0))
    as_they_lie = coset_silhouettes(clouds, num_components=None).amax(dim=-1)
    torch.testing.assert_close(null_best_coset(50, dimension=2), as_they_lie)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, "draws must be at least 1, got 0"),
        ({"dimension": 1}, "dimension must be at least 2, the plane that is scored, got 1"),
    ],
)
def test_impossible_draws_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        null_best_coset(**options)
