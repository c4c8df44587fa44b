"""Every loss head in bfloat16, compiled and under vmap."""

import pytest
import torch
from torch.func import functional_call, grad, vmap

from tests.helpers.every_head import CLASSES, build, each_head, examples, loss_and_gradients

# ---- bfloat16 ------------------------------------------------------------------------------------


@each_head
def test_bfloat16_features_and_weights_change_the_loss_by_at_most_two_percent(cls):
    head = build(cls)
    features, targets = examples(40)
    expected = head.loss(features, targets).item()
    loss, of_features, of_parameters = loss_and_gradients(
        head.bfloat16(), features.bfloat16(), targets
    )
    assert loss.item() == pytest.approx(expected, rel=0.02)
    assert of_features.dtype == of_parameters["weight"].dtype == torch.bfloat16
    assert of_features.isfinite().all() and of_features.abs().max() > 0
    assert all(gradient.isfinite().all() for gradient in of_parameters.values())


@each_head
@pytest.mark.parametrize("features_dtype", [torch.float32, torch.bfloat16], ids=str)
def test_bfloat16_autocast_changes_the_loss_by_at_most_two_percent(cls, features_dtype):
    head = build(cls)
    features, targets = examples(40)
    expected, of_exact_features, of_exact_parameters = loss_and_gradients(head, features, targets)
    with torch.autocast("cpu", torch.bfloat16):
        assert head(features.to(features_dtype)).shape == (40, CLASSES)
        loss, of_features, of_parameters = loss_and_gradients(
            head, features.to(features_dtype), targets
        )
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=0.02)
    assert of_parameters["weight"].dtype == torch.float32
    for got, exact in (
        (of_features, of_exact_features),
        (of_parameters["weight"], of_exact_parameters["weight"]),
    ):
        assert got.isfinite().all()
        assert (got - exact).norm() < 0.05 * exact.norm()


# ---- the compiler --------------------------------------------------------------------------------


def assert_compiled_agrees(head, backend):
    features, targets = examples(10)
    targets[3] = -100
    expected = loss_and_gradients(head, features, targets)
    torch._dynamo.reset()
    compiled = torch.compile(head.loss, fullgraph=True, dynamic=False, backend=backend)
    x = features.clone().requires_grad_(True)
    head.zero_grad(set_to_none=True)
    loss = compiled(x, targets)
    loss.backward()
    torch.testing.assert_close(loss.detach(), expected[0])
    torch.testing.assert_close(x.grad, expected[1])
    for name, parameter in head.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[2][name])


@each_head
def test_loss_compiles_as_one_graph_and_agrees_with_eager(cls):
    # Everything but code generation: a graph break or an operation without a rule would show.
    assert_compiled_agrees(build(cls), "aot_eager")


# torch 2.13's own compiler still imports code that it deprecates.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
@each_head
@pytest.mark.slow
def test_loss_compiled_to_machine_code_agrees_with_eager(cls):
    assert_compiled_agrees(build(cls), "inductor")


# ---- vmap ----------------------------------------------------------------------------------------


@each_head
def test_vmap_over_heads_computes_each_head_s_loss_and_gradients(cls):
    head = build(cls)
    head.fused = False  # as an Ensemble does
    features, targets = examples(3, 7)  # three members, seven examples each
    targets[1, 2:5] = -100
    targets[2] = -100
    rng = torch.Generator().manual_seed(4)
    stacked = {
        name: torch.randn(3, *parameter.shape, generator=rng)
        for name, parameter in head.named_parameters()
    }

    class Loss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = head

        def forward(self, x, y):
            return self.head.loss(x, y)

    module = Loss()

    def loss_of(parameters, x, y):
        return functional_call(module, {f"head.{k}": v for k, v in parameters.items()}, (x, y))

    losses = vmap(loss_of)(stacked, features, targets)
    gradients = vmap(grad(loss_of))(stacked, features, targets)
    for i in range(3):
        with torch.no_grad():
            for name, parameter in head.named_parameters():
                parameter.copy_(stacked[name][i])
        loss, _, expected = loss_and_gradients(head, features[i], targets[i])
        torch.testing.assert_close(losses[i], loss)
        for name in stacked:
            torch.testing.assert_close(gradients[name][i], expected[name], atol=1e-6, rtol=1e-5)
