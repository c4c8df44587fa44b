"""The fused losses as operators of torch, and under the compiler."""

from functools import partial

import pytest
import torch

from lightning_modules.heads import CrossEntropyHead, HarmonicHead
from lightning_modules.heads.fused import losses
from tests.helpers.exact_losses import (
    CLASSES,
    EPS,
    WIDTH,
    bias_of,
    cloud,
)

each_build = pytest.mark.parametrize(
    "build",
    [
        partial(CrossEntropyHead, WIDTH, CLASSES, bias=True, fused=True),
        partial(HarmonicHead, WIDTH, CLASSES, fused=True),
    ],
    ids=["cross_entropy", "harmonic"],
)


def operator_call(name, dtype=torch.float32, with_bias=False, with_gradients=True, strided=False):
    """The operator behind a loss and arguments for it."""
    x, weight, targets = cloud(width=4, classes=7, tokens=5)
    if strided:
        x = x.T.contiguous().T
    x, weight = (value.to(dtype).requires_grad_(with_gradients) for value in (x, weight))
    if name == "harmonic":
        rest = (targets, 7, 2.0, EPS, -100, dtype, with_gradients)
        return losses._harmonic, (x, weight, *rest)
    bias = bias_of(7).to(dtype).requires_grad_(with_gradients) if with_bias else None
    return losses._cross_entropy, (x, weight, bias, targets, 7, -100, dtype, with_gradients)


@pytest.mark.parametrize(
    "call",
    [
        {"name": "cross_entropy"},
        {"name": "cross_entropy", "with_bias": True},
        {"name": "cross_entropy", "with_gradients": False},
        {"name": "harmonic"},
        {"name": "harmonic", "with_gradients": False},
        {"name": "cross_entropy", "dtype": torch.bfloat16},
        {"name": "harmonic", "dtype": torch.bfloat16},
        {"name": "cross_entropy", "strided": True},
        {"name": "harmonic", "strided": True},
    ],
    ids=lambda call: "-".join(f"{value}" for value in call.values()),
)
def test_operators_pass_opcheck(call):
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    operator, arguments = operator_call(**call)
    torch.library.opcheck(operator, arguments, test_utils=tests)


@each_build
def test_compiled_head_with_dynamic_shapes_and_autocast_agrees_with_eager(build):
    head = build()
    x, _, targets = cloud()
    targets[3] = -100
    torch._dynamo.reset()
    compiled = torch.compile(head.loss, fullgraph=True, backend="aot_eager", dynamic=True)
    results = []
    for loss_of in (head.loss, compiled):
        leaf = x.clone().requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16, enabled=True):
            loss = loss_of(leaf, targets)
        results.append(
            [loss.detach(), *torch.autograd.grad(0.5 * loss, (leaf, *head.parameters()))]
        )
    for got, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)


@each_build
def test_compiled_head_still_uses_the_fused_operator(build):
    graphs = []

    def backend(graph, _):
        graphs.append(str(graph.code))
        return graph

    x, _, targets = cloud()
    torch._dynamo.reset()
    torch.compile(build().loss, fullgraph=True, backend=backend)(x, targets)
    assert "glassbox" in graphs[0]
