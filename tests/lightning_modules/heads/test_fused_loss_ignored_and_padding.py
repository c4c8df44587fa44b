"""Fused losses: ignored tokens and rows that pad the vocabulary have no effect."""

import pytest
import torch

from lightning_modules.heads.fused.losses import fused_cross_entropy
from tests.helpers.exact_losses import (
    CLASSES,
    TOKENS,
    assert_close,
    bias_of,
    cloud,
    each_loss,
    evaluate,
    exact_by_name,
    exact_cross_entropy,
    loss_by_name,
    reference,
)

# ---- ignored tokens ------------------------------------------------------------------------------


@each_loss
@pytest.mark.parametrize("ignore_index", [-100, 3])
def test_ignored_tokens_do_not_affect_loss_or_gradients(name, ignore_index, small_chunks):
    x, weight, targets = cloud()
    targets[targets == ignore_index] = 7
    kept = torch.ones(TOKENS, dtype=torch.bool)
    kept[[0, 4, 5, 6, 7, 10]] = False
    masked = torch.where(kept, targets, ignore_index)
    got = evaluate(loss_by_name(name, masked, ignore_index=ignore_index), x, weight)
    expected = exact_by_name(name, x[kept], weight, targets[kept])
    assert (got[1][~kept] == 0).all()
    assert_close([got[0], got[1][kept], got[2]], expected, 1e-6)


@each_loss
def test_empty_batch_has_zero_loss(name):
    x, weight, targets = cloud()
    weight.requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):  # whose scale is the mean of the features
        loss = loss_by_name(name, targets[:0])(x[:0], weight)
    loss.backward()
    assert loss == 0 and (weight.grad == 0).all()


@each_loss
def test_large_ignored_features_do_not_lower_precision(name):
    # In bfloat16 products are centered on the mean of the features that count.
    x, weight, targets = cloud()
    targets[2] = -100
    results = []
    for value in (0.0, 1e4):
        x[2] = value
        with torch.autocast("cpu", torch.bfloat16):
            results.append(evaluate(loss_by_name(name, targets), x, weight))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


# ---- padding of the vocabulary -------------------------------------------------------------------


def padded(weight, kind, x, targets):
    """``weight`` with three more rows."""
    rows = {
        "zero": torch.zeros(3, weight.shape[1]),
        "target": weight[targets[:3]],
        "huge": torch.full((3, weight.shape[1]), -1e30),
        "overflowing": torch.full((3, weight.shape[1]), 3e38),
    }[kind]
    return torch.cat([weight, rows])


each_padding = pytest.mark.parametrize("kind", ["zero", "target", "huge"])


@each_loss
@each_padding
@pytest.mark.parametrize("half", [False, True])
def test_padding_rows_get_no_probability_and_no_gradient(name, kind, half, small_chunks):
    x, weight, targets = cloud()
    biases = {"bias": bias_of()} if name == "cross_entropy" else {}
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        expected = evaluate(loss_by_name(name, targets, **biases), x, weight)
        got = evaluate(
            loss_by_name(name, targets, num_classes=CLASSES, **biases),
            x,
            padded(weight, kind, x, targets),
        )
    assert (got[2][CLASSES:] == 0).all()
    unpadded = [got[0], got[1], got[2][:CLASSES]]
    assert_close(unpadded, [value.double() for value in expected], 1e-2 if half else 1e-6)


@pytest.mark.parametrize("half", [None, torch.bfloat16, torch.float16], ids=str)
def test_padding_may_overflow(half):
    x, weight, targets = cloud()
    weight = padded(weight, "overflowing", x, targets)
    with torch.autocast("cpu", half or torch.bfloat16, enabled=half is not None):
        got = evaluate(loss_by_name("harmonic", targets, num_classes=CLASSES), x, weight)
    assert all(value.isfinite().all() for value in got)


def test_bias_gradient_with_padding():
    x, weight, targets = cloud()
    got = evaluate(
        lambda x, w, b: fused_cross_entropy(x, w, targets, b, CLASSES),
        x,
        padded(weight, "huge", x, targets),
        bias_of(),
    )
    assert got[3].shape == (CLASSES,)
    assert_close([got[3]], reference(exact_cross_entropy, x, weight, targets, bias_of())[3:], 1e-6)


# ---- targets out of range ---


@each_loss
@pytest.mark.parametrize(
    ("target", "num_classes"), [(-1, None), (CLASSES, None), (CLASSES - 1, CLASSES - 1)]
)
def test_target_out_of_range_raises(name, target, num_classes):
    x, weight, targets = cloud()
    targets[1] = target
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        loss_by_name(name, targets, num_classes=num_classes)(x, weight)
