"""The spherical softmax head against its formula in float64."""

import math

import pytest
import torch

from lightning_modules.heads import SphericalSoftmaxHead


def make(eps=1e-4, width=6, classes=5):
    rng = torch.Generator().manual_seed(11)
    head = SphericalSoftmaxHead(width, classes, eps=eps)
    with torch.no_grad():
        head.weight.copy_(torch.randn(classes, width, generator=rng))
    features = torch.randn(7, width, generator=rng)
    return head, features, torch.randint(classes, (7,), generator=rng)


def probabilities_by_loop(head, x):
    outputs = [
        math.fsum(w * v for w, v in zip(row, x, strict=True)) for row in head.weight.tolist()
    ]
    squares = [o * o + head.eps for o in outputs]
    return [square / math.fsum(squares) for square in squares]


@pytest.mark.parametrize("eps", [1e-10, 1e-4, 0.5])
def test_probabilities_are_proportional_to_squared_inner_products(eps):
    head, features, _ = make(eps)
    p = head(features).softmax(dim=-1)
    expected = torch.tensor([probabilities_by_loop(head, x) for x in features.tolist()])
    torch.testing.assert_close(p, expected, rtol=1e-4, atol=1e-6)


def test_a_small_loss_keeps_its_digits():
    head = SphericalSoftmaxHead(2, 2, eps=1e-12)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
    loss = head.loss(torch.tensor([[1000.0, 0.0]]), torch.tensor([0]))
    assert loss.item() == pytest.approx(1e-18, rel=1e-4)


def test_sign_and_norm_of_a_feature_do_not_matter():
    head, features, _ = make(eps=1e-12)
    p = head(features).softmax(dim=-1)
    for factor in (-1.0, 30.0):
        torch.testing.assert_close(head(features * factor).softmax(-1), p, rtol=1e-4, atol=1e-6)


def test_eps_bounds_the_gradient_of_a_logit():
    head = SphericalSoftmaxHead(1, 2, eps=1e-2)
    with torch.no_grad():
        head.weight.fill_(1.0)
    x = (torch.arange(-400, 401) / 200).unsqueeze(1).requires_grad_(True)
    (slope,) = torch.autograd.grad(head(x)[:, 0].sum(), x)
    assert slope.abs().max().item() == pytest.approx(10.0, rel=1e-3)
    assert slope[400] == 0  # where the output is 0


def test_gradients_match_finite_differences():
    head, features, targets = make()
    head.double()
    x = features.double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: head.loss(x, targets), (x,))


def test_autocast_does_not_change_the_precision():
    head, features, targets = make()
    with torch.autocast("cpu", torch.bfloat16):
        assert head(features).dtype == torch.float32
        inside = head.loss(features, targets)
    torch.testing.assert_close(inside, head.loss(features, targets))


@pytest.mark.parametrize("eps", [0.0, -1.0, math.nan])
def test_eps_must_be_positive(eps):
    with pytest.raises(ValueError, match="eps"):
        SphericalSoftmaxHead(4, 3, eps=eps)
