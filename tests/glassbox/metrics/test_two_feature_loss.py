"""The expected loss of two features in one dimension, against closed forms and against draws."""

from __future__ import annotations

import pytest
import torch

from glassbox.metrics import phase_diagram, two_feature_loss
from lightning_modules.networks.toy_autoencoder import ToyAutoencoder


@pytest.mark.parametrize("activity", [0.02, 0.4, 1.0])
@pytest.mark.parametrize("importance", [0.2, 3.0])
def test_the_three_ways_of_the_closed_form_have_its_losses(activity, importance):
    p, r = torch.tensor(activity).double(), torch.tensor(importance).double()
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]]).double()[..., None]
    biases = torch.tensor([[0.0, activity / 2], [activity / 2, 0.0], [0.0, 0.0]]).double()
    found = two_feature_loss(weights, biases, p, r)
    assert found.tolist() == pytest.approx(phase_diagram(p, r).losses.tolist(), rel=1e-3)


def test_it_is_the_mean_loss_of_many_draws_of_the_model_that_is_trained():
    rng = torch.Generator().manual_seed(0)
    weights = torch.tensor([[0.9, -0.7], [0.8, 0.6]])[..., None]  # two models (2, 1)
    biases = torch.tensor([[-0.05, 0.1], [0.02, -0.03]])
    p, r = torch.tensor([0.3, 0.8]), torch.tensor([2.0, 0.5])
    found = two_feature_loss(weights, biases, p, r)
    for i in range(2):
        model = ToyAutoencoder(2, 1)
        with torch.no_grad():
            model.weight.copy_(weights[i])
            model.bias.copy_(biases[i])
        active = torch.rand(400_000, 2, generator=rng) < p[i]
        x = active * torch.rand(400_000, 2, generator=rng)
        loss = model(x, torch.tensor([1.0, float(r[i])]))  # the mean over the two features
        assert float(found[i]) == pytest.approx(2 * loss.item(), rel=0.01)


def test_a_model_that_is_not_finite_has_no_loss():
    weights = torch.tensor([[torch.nan, 1.0], [1.0, 0.0]])[..., None]
    found = two_feature_loss(weights, torch.zeros(2, 2), torch.tensor(0.5), torch.tensor(1.0))
    assert found[0].isnan() and found[1].isfinite()


def test_other_models_are_refused():
    with pytest.raises(ValueError, match=r"two features and one neuron, got shapes \(3, 1\)"):
        two_feature_loss(torch.zeros(3, 1), torch.zeros(3), torch.tensor(0.5), torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"and \(3,\)"):
        two_feature_loss(torch.zeros(2, 1), torch.zeros(3), torch.tensor(0.5), torch.tensor(1.0))
