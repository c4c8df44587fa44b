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
def test_operators_pass_torchs_opcheck(call):
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    operator, arguments = operator_call(**call)
    torch.library.opcheck(operator, arguments, test_utils=tests)


def check_compiled(head, backend, half=False, **options):
    """That ``head.loss`` compiles as one graph and agrees with eager, gradients included."""
    x, _, targets = cloud(head.in_features, head.num_classes)
    targets[3] = -100
    torch._dynamo.reset()
    compiled = torch.compile(head.loss, fullgraph=True, backend=backend, **options)
    results = []
    for loss_of in (head.loss, compiled):
        leaf = x.clone().requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = loss_of(leaf, targets)
        results.append(
            [loss.detach(), *torch.autograd.grad(0.5 * loss, (leaf, *head.parameters()))]
        )
    for got, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)


def fused_heads():
    return [
        pytest.param(partial(cls, WIDTH, CLASSES, fused=True, **options), id=cls.__name__)
        for cls, options in ((CrossEntropyHead, {"bias": True}), (HarmonicHead, {}))
    ]


@pytest.mark.parametrize("build", fused_heads())
def test_a_compiled_head_still_never_forms_the_logits(build):
    graphs = []

    def backend(graph, _):
        graphs.append(str(graph.code))
        return graph

    x, _, targets = cloud()
    torch._dynamo.reset()
    torch.compile(build().loss, fullgraph=True, backend=backend)(x, targets)
    assert "glassbox" in graphs[0]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("build", fused_heads())
def test_a_captured_head_agrees_with_eager(build, half):
    check_compiled(build(), "aot_eager", half)


@pytest.mark.slow
# torch 2.13's own compiler still imports code that it deprecates.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("build", fused_heads())
def test_a_head_compiled_to_machine_code_agrees_with_eager(build, dynamic):
    check_compiled(build(), "inductor", dynamic=dynamic)
