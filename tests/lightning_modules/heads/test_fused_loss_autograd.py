"""The fused losses in a graph: scaled, accumulated, frozen, of any layout, differentiated once."""

import pytest
import torch

from lightning_modules.heads.fused.losses import fused_cross_entropy
from tests.helpers.exact_losses import (
    WIDTH,
    assert_close,
    bias_of,
    cloud,
    each_loss,
    evaluate,
    exact_by_name,
    exact_cross_entropy,
    loss_by_name,
    reference,
    relative_error,
)


@each_loss
def test_micro_batch_gradients_sum_to_the_batch_gradient(name):
    x, weight, targets = cloud(tokens=12)
    whole = evaluate(loss_by_name(name, targets), x, weight)
    accumulated = [value.clone().requires_grad_(True) for value in (x, weight)]
    for part, fraction in ((slice(0, 8), 8 / 12), (slice(8, 12), 4 / 12)):
        loss = loss_by_name(name, targets[part])(accumulated[0][part], accumulated[1])
        (fraction * loss).backward()
    for leaf, expected in zip(accumulated, whole[1:], strict=True):
        torch.testing.assert_close(leaf.grad, expected, rtol=1e-5, atol=1e-8)


@each_loss
def test_gradient_reaches_the_network(name):
    # Through a product on either side of the loss, as in a network.
    x, weight, targets = cloud()
    mixing = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(6)) / 5
    leaf = mixing.clone().requires_grad_(True)
    (2 * loss_by_name(name, targets)(x @ leaf, weight)).backward()
    expected = exact_by_name(name, (x.double() @ mixing.double()), weight, targets)[1]
    assert relative_error(leaf.grad, 2 * x.double().T @ expected) < 1e-5


@each_loss
@pytest.mark.parametrize("trained", ["x", "weight"])
def test_frozen_features_or_weight(name, trained):
    x, weight, targets = cloud()
    leaves = {"x": x.clone(), "weight": weight.clone()}
    leaves[trained].requires_grad_(True)
    loss_by_name(name, targets)(**leaves).backward()
    frozen = leaves["weight" if trained == "x" else "x"]
    assert frozen.grad is None
    expected = evaluate(loss_by_name(name, targets), x, weight)
    assert torch.equal(leaves[trained].grad, expected[1 if trained == "x" else 2])


def test_bias_is_the_only_trained_parameter():
    x, weight, targets = cloud()
    bias = bias_of().requires_grad_(True)
    fused_cross_entropy(x, weight, targets, bias).backward()
    assert_close([bias.grad], reference(exact_cross_entropy, x, weight, targets, bias)[3:], 1e-6)


@each_loss
def test_second_derivative_raises(name):
    x, weight, targets = cloud()
    x.requires_grad_(True)
    with pytest.raises(RuntimeError, match="fused"):
        torch.autograd.grad(loss_by_name(name, targets)(x, weight), x, create_graph=True)


@each_loss
@pytest.mark.parametrize("retain_graph", [False, True])
def test_second_backward_raises(name, retain_graph):
    x, weight, targets = cloud()
    loss = 0.5 * loss_by_name(name, targets)(x.requires_grad_(True), weight)
    (first,) = torch.autograd.grad(loss, x, retain_graph=retain_graph)
    expected = first.clone()
    with pytest.raises(RuntimeError, match=r"fused|backward"):
        torch.autograd.grad(loss, x, retain_graph=retain_graph)
    assert torch.equal(first, expected)


@each_loss
def test_non_contiguous_inputs(name, small_chunks):
    x, weight, targets = cloud()
    expected = evaluate(loss_by_name(name, targets), x, weight)
    leaves = [value.T.contiguous().T.requires_grad_(True) for value in (x, weight)]
    assert not leaves[0].is_contiguous()
    loss = loss_by_name(name, targets)(*leaves)
    got = [loss.detach(), *torch.autograd.grad(loss, leaves)]
    assert_close(got, [value.double() for value in expected], 1e-6)
