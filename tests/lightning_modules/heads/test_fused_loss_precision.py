"""The fused losses against float64: how many digits they keep, near a center and far out."""

import math

import pytest
import torch

from lightning_modules.heads.fused.losses import fused_cross_entropy
from tests.helpers.exact_losses import (
    CLASSES,
    assert_close,
    bias_of,
    cloud,
    each_loss,
    evaluate,
    exact_by_name,
    exact_cross_entropy,
    exact_harmonic,
    loss_by_name,
    near,
    reference,
)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_cross_entropy_precision(with_bias, scale, small_chunks):
    x, weight, targets = cloud()
    biases = [bias_of()] if with_bias else []
    got = evaluate(
        lambda x, w, *b: fused_cross_entropy(x, w, targets, *b), scale * x, weight, *biases
    )
    expected = reference(exact_cross_entropy, scale * x, weight, targets, *biases)
    assert_close(got, expected, 1e-6)


@pytest.mark.parametrize("exponent", [1, 28, 27.7])
@pytest.mark.parametrize("distance", [1, 0.1, 1e-3, 0])
def test_harmonic_precision_near_the_target_center(exponent, distance, small_chunks):
    _, weight, targets = cloud(width=256, classes=300)
    x = near(weight, targets, distance)
    got = evaluate(loss_by_name("harmonic", targets, exponent), x, weight)
    expected = reference(exact_harmonic, x, weight, targets, exponent)
    if expected[0] < 1e-36:  # float32 has no such numbers
        assert 0 <= got[0] < 1e-36
        assert all(gradient.abs().max() < 1e-30 for gradient in got[1:])
        return
    # The power multiplies the rounding of a distance, some 1e-7, by n/2. Far out a sum over many
    # classes evens that out; with a large exponent, near the center, one class has it all.
    tolerance = max(5e-7, exponent * (5e-8 if distance == 1 else 1.5e-7))
    assert_close(got, expected, tolerance)


@each_loss
@pytest.mark.parametrize("exponent", [1, 28, 27.7])
def test_float64_precision(name, exponent, small_chunks):
    x, weight, targets = cloud()
    x[:4] = near(weight, targets[:4], 1e-2)
    got = evaluate(loss_by_name(name, targets, exponent), x.double(), weight.double())
    assert {value.dtype for value in got} == {torch.float64}
    assert_close(got, exact_by_name(name, x.double(), weight.double(), targets, exponent), 1e-13)


@pytest.mark.parametrize("exponent", [1, 28, 768])
@pytest.mark.parametrize("distance", [0.0, 1e-6])
def test_loss_and_gradients_near_a_wrong_center_are_finite(exponent, distance):
    _, weight, targets = cloud()
    x = near(weight, (targets + 1) % CLASSES, distance)
    loss, of_x, of_weight = evaluate(loss_by_name("harmonic", targets, exponent), x, weight)
    assert loss.isfinite() and loss > 1
    assert of_x.isfinite().all() and of_weight.isfinite().all()


@pytest.mark.parametrize("exponent", [1, 28])
@pytest.mark.parametrize("distance", [1e-2, 1e-4, 0.0])
def test_harmonic_precision_near_a_wrong_center(exponent, distance):
    _, weight, targets = cloud()
    x = near(weight, (targets + 1) % CLASSES, distance)
    got = evaluate(loss_by_name("harmonic", targets, exponent), x, weight)
    assert_close(got, reference(exact_harmonic, x, weight, targets, exponent), 1e-3)


@pytest.mark.parametrize("exponent", [1, 28])
@pytest.mark.parametrize("distance", [0.05, 1e-2, 1e-3])
def test_bfloat16_gradient_near_a_wrong_center_is_bounded(exponent, distance):
    _, weight, targets = cloud()
    x = near(weight, (targets + 1) % CLASSES, distance)
    with torch.autocast("cpu", torch.bfloat16):
        got = evaluate(loss_by_name("harmonic", targets, exponent), x, weight)
    expected = reference(exact_harmonic, x, weight, targets, exponent)
    assert got[1].norm() < 3 * expected[1].norm()


@each_loss
def test_target_probability_that_underflows(name):
    # Both losses are about 2e4 and exp(-2e4) is 0 in any precision.
    if name == "cross_entropy":
        x, weight = torch.tensor([[1.0]]), torch.tensor([[1e4], [-1e4], [9999.0]])
        loss, of_x, of_weight = evaluate(loss_by_name(name, torch.tensor([1])), x, weight)
        share = 1 / (1 + math.exp(-1))  # of class 0; class 2 has the rest
        assert loss.item() == pytest.approx(2e4 - math.log(share), rel=1e-6)
        expected = torch.tensor([[share], [-1.0], [1 - share]])
        torch.testing.assert_close(of_weight, expected)
        assert of_x.item() == pytest.approx(2e4 - (1 - share), rel=1e-6)
        return
    x, weight = torch.tensor([[0.0]]), torch.tensor([[1.0], [-1024.0], [-1024.0]])
    exponent = 2884.0
    loss, of_x, of_weight = evaluate(loss_by_name(name, torch.tensor([1]), exponent), x, weight)
    assert loss.item() == pytest.approx(exponent * math.log(1024), rel=1e-6)
    assert of_x.item() == pytest.approx(exponent * (1 + 1 / 1024), rel=1e-6)
    expected = torch.tensor([[-exponent], [-exponent / 1024], [0.0]])
    torch.testing.assert_close(of_weight, expected, rtol=1e-6, atol=0.0)


def test_small_cross_entropy_keeps_full_precision():
    # 1 - p is 4e-9 here: log-sum-exp over all classes would give 0.
    x, weight = torch.tensor([[1.0]]), torch.tensor([[20.0], [0.0], [-1.0], [0.5]])
    targets = torch.tensor([0])
    got = evaluate(loss_by_name("cross_entropy", targets), x, weight)
    assert 1e-9 < got[0] < 1e-8
    assert_close(got, reference(exact_cross_entropy, x, weight, targets), 1e-6)
