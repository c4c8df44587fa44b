"""The cross-entropy head against softmax cross-entropy written out in float64."""

import math

import pytest
import torch

from lightning_modules.heads import CrossEntropyHead

WIDTH, CLASSES = 6, 5


def make(bias, scale=1.0):
    rng = torch.Generator().manual_seed(11)
    head = CrossEntropyHead(WIDTH, CLASSES, bias=bias)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng))
    features = torch.randn(7, WIDTH, generator=rng) * scale
    return head, features, torch.randint(CLASSES, (7,), generator=rng)


def logits_by_loop(head, x):
    bias = [0.0] * CLASSES if head.bias is None else head.bias.tolist()
    return [
        math.fsum(w * v for w, v in zip(row, x, strict=True)) + b
        for row, b in zip(head.weight.tolist(), bias, strict=True)
    ]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_loss_is_the_mean_negative_log_probability(bias, scale):
    head, features, targets = make(bias, scale)
    losses = []
    for x, target in zip(features.tolist(), targets.tolist(), strict=True):
        logits = logits_by_loop(head, x)
        log_sum = max(logits) + math.log(math.fsum(math.exp(v - max(logits)) for v in logits))
        losses.append(log_sum - logits[target])
    expected = math.fsum(losses) / len(losses)
    assert head.loss(features, targets).item() == pytest.approx(expected, rel=1e-5)


def test_initial_bias_is_uniform_as_in_a_linear_layer():
    torch.manual_seed(0)
    bias = CrossEntropyHead(25, 2000, bias=True).bias.detach()
    assert bias.shape == (2000,)
    assert 0.199 < bias.abs().max() <= 0.2
    assert bias.std().item() == pytest.approx(0.2 / math.sqrt(3), rel=0.05)


def test_tying_keeps_the_bias():
    head, features, targets = make(bias=True)
    embedding = torch.nn.Parameter(torch.zeros(CLASSES, WIDTH))
    bias = head.bias
    head.tie(embedding)
    assert head.weight is embedding and head.bias is bias
    # With weights of zero the bias alone decides.
    expected = bias.detach().log_softmax(0)
    torch.testing.assert_close(head.loss(features, targets), -expected[targets].mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_logits_of_hundreds_give_a_finite_loss_and_gradient(dtype):
    head, features, targets = make(bias=False)
    head = head.to(dtype)
    features = (features * 300).to(dtype).requires_grad_(True)
    loss = head.loss(features, targets)
    loss.backward()
    assert loss.dtype == torch.float32 and 100 < loss.item() < 10_000
    assert features.grad.isfinite().all() and head.weight.grad.isfinite().all()
