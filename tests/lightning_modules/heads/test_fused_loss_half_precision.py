"""The fused losses in bfloat16 and float16, under autocast and of such inputs, against float64."""

import pytest
import torch

from lightning_modules.heads.fused.losses import fused_cross_entropy
from tests.helpers.exact_losses import (
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
    relative_error,
)


@pytest.mark.parametrize("with_bias", [False, True])
def test_cross_entropy_error_in_bfloat16_autocast(with_bias, small_chunks):
    x, weight, targets = cloud()
    x = 4 * x
    biases = [bias_of()] if with_bias else []
    with torch.autocast("cpu", torch.bfloat16):
        got = evaluate(lambda x, w, *b: fused_cross_entropy(x, w, targets, *b), x, weight, *biases)
    assert {value.dtype for value in got} == {torch.float32}
    # Logits of about 1, three times rounded to 2^-9, shift a log-probability by no more.
    expected = reference(exact_cross_entropy, x, weight, targets, *biases)
    assert abs(got[0] - expected[0]) < 3 * 2**-9
    assert_close(got[1:], expected[1:], 6 * 2**-9)


@pytest.mark.parametrize(
    ("exponent", "distance"),
    [(1, 1), (1, 0.1), (2, 1e-2), (28, 1), (28, 0.1)],
)
def test_harmonic_error_in_bfloat16_autocast(exponent, distance, small_chunks):
    _, weight, targets = cloud()
    x = near(weight, targets, distance)
    with torch.autocast("cpu", torch.bfloat16):
        got = evaluate(loss_by_name("harmonic", targets, exponent), x, weight)
    assert {value.dtype for value in got} == {torch.float32}
    expected = reference(exact_harmonic, x, weight, targets, exponent)
    # The other centers are about 1 away: d² has an error of about 2^-8, its power n/2 times that.
    assert_close(got, expected, max(exponent, 2) * 2**-9)


def test_large_exponents_do_not_use_bfloat16_distances():
    x, weight, targets = cloud()
    got, at_the_limit = [], []
    for exponent, results in ((101.0, got), (100.0, at_the_limit)):
        for enabled in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                results.append(evaluate(loss_by_name("harmonic", targets, exponent), x, weight))
    assert all(torch.equal(a, b) for a, b in zip(*got, strict=True))
    assert not torch.equal(at_the_limit[0][1], at_the_limit[1][1])


@each_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_inputs_give_a_float32_loss_and_gradients_of_their_dtype(name, dtype):
    x, weight, targets = cloud()
    x, weight = x.to(dtype), weight.to(dtype)
    got = evaluate(loss_by_name(name, targets), x, weight)
    assert [value.dtype for value in got] == [torch.float32, dtype, dtype]
    expected = exact_by_name(name, x, weight, targets)  # of the rounded inputs
    assert_close(got, expected, 2e-2 if dtype == torch.bfloat16 else 2e-3)


@pytest.mark.parametrize("distance", [1.0, 0.3])
def test_errors_in_float16_autocast(distance, small_chunks):
    x, weight, targets = cloud()
    with torch.autocast("cpu", torch.float16):
        got = evaluate(loss_by_name("cross_entropy", targets), x, weight)
    assert_close(got, reference(exact_cross_entropy, x, weight, targets), 1e-3)
    x = near(weight, targets, distance)
    with torch.autocast("cpu", torch.float16):
        got = evaluate(loss_by_name("harmonic", targets, 2.0), x, weight)
    assert_close(got, reference(exact_harmonic, x, weight, targets, 2.0), 1e-3)


@pytest.mark.slow
@each_loss
def test_small_gradients_do_not_underflow_in_float16(name):
    # 40,000 tokens and 2,000 classes of about equal probability: one token contributes 1e-8 to a
    # class's gradient, less than float16 can represent.
    x, weight, targets = cloud(width=2, classes=2000, tokens=40_000)
    x, weight = 1e-3 * x + 1.0, 1e-3 * weight + (2.0 if name == "harmonic" else 0.0)
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.float16, enabled=enabled):
            gradients.append(evaluate(lambda w: loss_by_name(name, targets, 1.0)(x, w), weight)[1])
    assert relative_error(gradients[1], gradients[0].double()) < 0.02


@pytest.mark.parametrize("distance", [1e-3, 0.0])
def test_float16_gradients_near_the_target_center_are_finite(distance):
    _, weight, targets = cloud()
    x = near(weight, targets, distance)
    with torch.autocast("cpu", torch.float16):
        got = evaluate(loss_by_name("harmonic", targets, 2.0), x, weight)
    assert all(value.isfinite().all() for value in got)
