"""Parameter groups, the learning rate at each step, and clipping."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from lightning_modules import GPT2, CrossEntropyHead, HarmonicHead
from lightning_modules.optimization import clip_gradients, parameter_groups, warmup_cosine

# ---- which parameters decay ------------------------------------------------------------------


def tied_model(head: type, **options) -> nn.ModuleDict:
    network = GPT2(50, 8, num_layers=2, num_heads=1, width=8)
    model = nn.ModuleDict({"network": network, "head": head(8, 50, **options)})
    model["head"].tie(network.token_embedding().weight, num_padding=64 - 50)
    return model


def names(model: nn.Module, group: dict) -> set[str]:
    wanted = {id(parameter) for parameter in group["params"]}
    return {name for name, p in model.named_parameters() if id(p) in wanted}


@pytest.mark.parametrize(
    ("head", "options"), [(HarmonicHead, {}), (CrossEntropyHead, {"bias": True})]
)
def test_matrices_decay_and_vectors_do_not(head, options):
    model = tied_model(head, **options)
    decaying, resting = parameter_groups(model, 0.1)
    assert (decaying["weight_decay"], resting["weight_decay"]) == (0.1, 0.0)
    assert all(p.dim() == 2 for p in decaying["params"])
    assert {name.rpartition(".")[2] for name in names(model, decaying)} == {"weight"}
    for name in names(model, resting):
        assert name.endswith("bias") or "norm.weight" in name
    assert ("head.bias" in names(model, resting)) == bool(options)


def test_every_parameter_is_in_one_group_and_a_tied_matrix_once():
    model = tied_model(HarmonicHead)
    parameters = [p for group in parameter_groups(model, 0.1) for p in group["params"]]
    assert len(parameters) == len({id(p) for p in parameters})
    assert {id(p) for p in parameters} == {id(p) for p in model.parameters()}
    assert sum(p is model["head"].weight for p in parameters) == 1


def test_a_frozen_parameter_is_in_no_group():
    model = tied_model(HarmonicHead)
    model["network"].positions.weight.requires_grad_(False)
    parameters = [p for group in parameter_groups(model, 0.1) for p in group["params"]]
    assert all(p is not model["network"].positions.weight for p in parameters)


def test_only_matrices_shrink_under_decay_alone():
    model = tied_model(HarmonicHead)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    torch.optim.AdamW(parameter_groups(model, 0.1), lr=0.5).step()
    for name, parameter in model.named_parameters():
        expected = before[name] * (1 - 0.5 * 0.1) if parameter.dim() == 2 else before[name]
        torch.testing.assert_close(parameter.detach(), expected)


# ---- the learning rate -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 6e-4 / 2000),  # not zero, which would waste a step
        (499, 1.5e-4),
        (999, 3e-4),
        (1999, 6e-4),
        (2000, 6e-4),
        (4000, 3e-5 + 5.7e-4 * (2 + math.sqrt(2)) / 4),  # a quarter of the cosine
        (6000, 3.15e-4),  # half-way between the peak and the floor
        (8000, 3e-5 + 5.7e-4 * (2 - math.sqrt(2)) / 4),
        (10000, 3e-5),
        (20000, 3e-5),
    ],
)
def test_schedule_is_the_paper_s(step, rate):
    # Harmonic-loss paper §6: 2,000 steps of warm-up to 6e-4, a cosine to 3e-5 at step 10,000.
    assert 6e-4 * warmup_cosine(step, 2000, 10000, 3e-5 / 6e-4) == pytest.approx(rate, rel=1e-12)


def test_schedule_rises_evenly_and_then_only_falls():
    shares = [warmup_cosine(step, 20, 100, 0.1) for step in range(120)]
    rises = [b - a for a, b in pairwise(shares[:20])]
    assert all(rise == pytest.approx(1 / 20) for rise in rises)
    assert all(b < a for a, b in pairwise(shares[20:101]))
    assert max(shares) == 1.0 and shares[100:] == [0.1] * 20


@pytest.mark.parametrize(
    ("warmup", "decay", "shares"),
    [
        (0, 2, [1.0, 0.5, 0.0, 0.0]),  # no warm-up
        (1, 3, [1.0, 1.0, 0.5, 0.0]),
        (4, 4, [0.25, 0.5, 0.75, 1.0]),  # a run that ends with its warm-up
        (8, 4, [0.125, 0.25, 0.375, 0.5]),  # or before
    ],
)
def test_schedule_of_a_short_run(warmup, decay, shares):
    assert [warmup_cosine(step, warmup, decay, 0.0) for step in range(4)] == pytest.approx(shares)


# ---- clipping --------------------------------------------------------------------------------


def with_gradients(scale: float) -> nn.Linear:
    module = nn.Linear(3, 2)
    module.weight.grad = torch.full((2, 3), scale)
    module.bias.grad = torch.full((2,), -scale)
    return module


def joint_norm(module: nn.Module) -> float:
    return float(torch.cat([p.grad.flatten() for p in module.parameters()]).norm())


def test_large_gradients_are_scaled_together_to_the_largest_norm():
    module = with_gradients(5.0)
    norm = clip_gradients(module, 1.0)
    assert float(norm) == pytest.approx(5.0 * math.sqrt(8)) and joint_norm(module) == pytest.approx(
        1.0, rel=1e-5
    )
    assert float(module.weight.grad[0, 0]) == pytest.approx(-float(module.bias.grad[0]))


@pytest.mark.parametrize("limit", [1.0, math.inf])
def test_small_gradients_stay_as_they_are(limit):
    module = with_gradients(0.1)
    assert float(clip_gradients(module, limit)) == pytest.approx(0.1 * math.sqrt(8))
    assert torch.equal(module.weight.grad, torch.full((2, 3), 0.1))
