"""The phase diagram of two features in one dimension, against numerical integration."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from glassbox.metrics import agreement, phase_diagram, trained_phase, two_feature_loss, widest_gap
from glassbox.metrics.two_features import PHASES
from lightning_modules.networks.toy_autoencoder import ToyAutoencoder

HALF = torch.tensor(0.5)
# Weights of the three phases, and biases as multiples of the activity p.
MODELS = {
    "first alone": ((1.0, 0.0), (0.0, 0.5)),
    "second alone": ((0.0, 1.0), (0.5, 0.0)),
    "antipodal pair": ((1.0, -1.0), (0.0, 0.0)),
}


def _expected_loss(phase: str, activity: float, importance: float) -> float:
    """E[(x_1 - x̂_1)² + r (x_2 - x̂_2)²] by the midpoint rule over both features."""
    middles = (np.arange(400) + 0.5) / 400
    value = np.concatenate([[0.0], middles])
    probability = np.concatenate([[1 - activity], np.full(400, activity / 400)])
    w, scale = np.array(MODELS[phase][0]), np.array(MODELS[phase][1])
    x = np.stack(np.meshgrid(value, value, indexing="ij"), axis=-1)  # (401, 401, 2)
    output = np.maximum((x @ w)[..., None] * w + activity * scale, 0)
    loss = ((x - output) ** 2 * (1.0, importance)).sum(axis=-1)
    return float(probability @ loss @ probability)


@pytest.mark.parametrize("activity", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("importance", [0.1, 1.0, 3.0])
def test_losses_match_numerical_integration(activity, importance):
    losses = phase_diagram(torch.tensor(activity), torch.tensor(importance)).losses
    expected = [_expected_loss(phase, activity, importance) for phase in PHASES]
    assert losses.tolist() == pytest.approx(expected, rel=1e-4)


def test_the_phase_changes_where_two_losses_cross():
    importance = torch.tensor([0.05, 0.3, 0.8], dtype=torch.float64)
    crossing = 4 * importance / (2 + 5 * importance)
    assert phase_diagram(0.999 * crossing, importance).phase.tolist() == [2, 2, 2]
    assert phase_diagram(1.001 * crossing, importance).phase.tolist() == [0, 0, 0]
    # The same with the features' roles exchanged: importances 1/r.
    assert phase_diagram(0.999 * crossing, 1 / importance).phase.tolist() == [2, 2, 2]
    assert phase_diagram(1.001 * crossing, 1 / importance).phase.tolist() == [1, 1, 1]


def test_arguments_broadcast_to_a_diagram():
    activity, importance = torch.tensor([0.01, 0.1, 1.0]), torch.tensor([0.1, 10.0])
    diagram = phase_diagram(activity, importance[:, None])
    assert diagram.losses.shape == (2, 3, 3) and diagram.losses.dtype == torch.float32
    assert diagram.phase.tolist() == [[2, 2, 0], [2, 2, 1]]
    assert torch.equal(diagram.losses.argmin(dim=-1), diagram.phase)


@pytest.mark.parametrize(
    ("call", "option"),
    [
        (lambda: phase_diagram(torch.tensor([0.5, 1.1]), torch.tensor(1.0)), "activity"),
        (lambda: phase_diagram(torch.tensor([0.5, torch.nan]), torch.tensor(1.0)), "activity"),
        (lambda: phase_diagram(torch.tensor(0.5), torch.tensor([-1.0, 1.0])), "importance"),
        (lambda: phase_diagram(torch.tensor(0.5), torch.tensor([torch.inf, 1.0])), "importance"),
        (lambda: trained_phase(torch.zeros(5, 3, 1)), "weights"),
        (lambda: trained_phase(torch.zeros(2, 1), -1), "threshold"),
        (lambda: two_feature_loss(torch.zeros(3, 1), torch.zeros(3), HALF, HALF), "weights"),
        (lambda: two_feature_loss(torch.zeros(2, 1), torch.zeros(3), HALF, HALF), "biases"),
    ],
)
def test_arguments_of_wrong_shape_or_range_raise(call, option):
    with pytest.raises(ValueError, match=option):
        call()


def test_trained_weights_are_classified():
    pairs = {(1.0, 0.1): 0, (-0.9, -0.4): 0, (0.0, 1.2): 1, (1.0, -1.0): 2, (-0.6, 0.7): 2}
    pairs |= {(0.3, 0.2): -1, (1.0, 1.0): -1, (torch.nan, 1.0): -1, (1.0, torch.inf): -1}
    weights = torch.tensor(list(pairs))[..., None]
    assert trained_phase(weights).tolist() == list(pairs.values())
    assert trained_phase(weights, threshold=0.15)[5] == -1  # both, of the same sign
    assert trained_phase(weights, threshold=0.25)[5] == 0


def test_a_cell_agrees_with_any_phase_of_the_smallest_loss():
    losses = torch.tensor([[[0.2, 0.2, 0.3], [0.1, 0.2, 0.3]]])
    assert agreement(torch.tensor([[1, 1]]), losses).tolist() == [[True, False]]
    assert agreement(torch.tensor([[-1, 0]]), losses).tolist() == [[False, True]]


def test_the_widest_gap_is_between_neighboring_norms():
    torch.manual_seed(0)
    weights = torch.randn(30, 2, 1)
    weights[3] = torch.nan
    norms = sorted(
        abs(w) for pair in weights[weights.isfinite().all((1, 2))].tolist() for (w,) in pair
    )
    gaps = [(b - a, a, b) for a, b in pairwise(norms)]
    assert widest_gap(weights).tolist() == pytest.approx(max(gaps)[1:])
    in_two = torch.tensor([[[3.0, 4.0], [0.0, 1.0]], [[0.6, 0.8], [0.0, 2.0]]])
    assert widest_gap(in_two).tolist() == pytest.approx([2.0, 5.0])
    assert widest_gap(weights[3:4]).isnan().all()


def test_the_loss_agrees_with_the_mean_over_many_draws():
    rng = torch.Generator().manual_seed(0)
    weights = torch.tensor([[0.9, -0.7], [0.8, 0.6]])[..., None]  # two models (2, 1)
    biases = torch.tensor([[-0.05, 0.1], [0.02, -0.03]])
    p, r = torch.tensor([0.3, 0.8]), torch.tensor([2.0, 0.5])
    expected = two_feature_loss(weights, biases, p, r)
    for i in range(2):
        model = ToyAutoencoder(2, 1)
        with torch.no_grad():
            model.weight.copy_(weights[i])
            model.bias.copy_(biases[i])
        active = torch.rand(200_000, 2, generator=rng) < p[i]
        x = active * torch.rand(200_000, 2, generator=rng)
        loss = model(x, torch.tensor([1.0, float(r[i])]))  # the mean over the two features
        assert float(expected[i]) == pytest.approx(2 * loss.item(), rel=0.01)
    weights[0, 0] = torch.nan
    loss = two_feature_loss(weights, biases, p, r)
    assert loss[0].isnan() and loss[1] == expected[1]
