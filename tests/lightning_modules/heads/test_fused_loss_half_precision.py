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
def test_cross_entropy_under_bfloat16_autocast_is_good_to_the_rounding_of_its_logits(
    with_bias, small_chunks
):
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
    [(1, 1), (1, 0.3), (1, 0.1), (1, 1e-2), (2, 1), (2, 1e-2), (28, 1), (28, 0.3), (28, 0.1)],
)
def test_harmonic_under_bfloat16_autocast_is_good_to_the_rounding_of_others_distances(
    exponent, distance, small_chunks
):
    _, weight, targets = cloud()
    x = near(weight, targets, distance)
    with torch.autocast("cpu", torch.bfloat16):
        got = evaluate(loss_by_name("harmonic", targets, exponent), x, weight)
    assert {value.dtype for value in got} == {torch.float32}
    expected = reference(exact_harmonic, x, weight, targets, exponent)
    # The others lie about 1 away, so that d² is wrong by some 2^-8, and its power n/2 times more.
    assert_close(got, expected, max(exponent, 2) * 2**-9)


def test_with_a_large_exponent_bfloat16_distances_are_not_used():
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
def test_half_precision_inputs_give_a_float32_loss_and_gradients_of_their_own_type(name, dtype):
    x, weight, targets = cloud()
    x, weight = x.to(dtype), weight.to(dtype)
    got = evaluate(loss_by_name(name, targets), x, weight)
    assert [value.dtype for value in got] == [torch.float32, dtype, dtype]
    expected = exact_by_name(name, x, weight, targets)  # of the rounded inputs
    assert_close(got, expected, 2e-2 if dtype == torch.bfloat16 else 2e-3)


@pytest.mark.parametrize("distance", [1.0, 0.3])
def test_float16_autocast_is_good_to_the_rounding_of_distances(distance, small_chunks):
    x, weight, targets = cloud()
    with torch.autocast("cpu", torch.float16):
        got = evaluate(loss_by_name("cross_entropy", targets), x, weight)
    assert_close(got, reference(exact_cross_entropy, x, weight, targets), 1e-3)
    x = near(weight, targets, distance)
    with torch.autocast("cpu", torch.float16):
        got = evaluate(loss_by_name("harmonic", targets, 2.0), x, weight)
    assert_close(got, reference(exact_harmonic, x, weight, targets, 2.0), 1e-3)


def many_tokens(name, dtype, with_bias=False):
    """Gradients of weight, and bias, of 40,000 tokens that give 2,000 classes even shares.

    One token's share of one class's gradient is then 1e-8, less than float16 has.
    """
    x, weight, targets = cloud(width=2, classes=2000, tokens=40_000)
    x = 1e-3 * x + 1.0
    weight = 1e-3 * weight + (2.0 if name == "harmonic" else 0.0)
    biases = [torch.zeros(2000)] if with_bias else []
    options = {"bias": biases[0]} if with_bias else {}

    def loss(weight, *bias):
        if with_bias:
            options["bias"] = bias[0]
        return loss_by_name(name, targets, exponent=1.0, **options)(x, weight)

    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        return evaluate(loss, weight, *biases)[1:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "with_bias"),
    [("cross_entropy", False), ("cross_entropy", True), ("harmonic", False)],
)
def test_shares_of_many_tokens_do_not_vanish_in_float16(name, with_bias):
    expected = many_tokens(name, torch.float32, with_bias)
    got = many_tokens(name, torch.float16, with_bias)
    for value, exact in zip(got, expected, strict=True):
        assert relative_error(value, exact.double()) < 0.02


@pytest.mark.parametrize("distance", [1e-3, 0.0])
def test_near_the_own_center_float16_gradients_are_finite(distance):
    _, weight, targets = cloud()
    x = near(weight, targets, distance)
    with torch.autocast("cpu", torch.float16):
        got = evaluate(loss_by_name("harmonic", targets, 2.0), x, weight)
    assert all(value.isfinite().all() for value in got)
