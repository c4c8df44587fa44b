"""Parameter groups, the learning rate at each step, and clipping."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from lightning_modules import GPT2, CrossEntropyHead, HarmonicHead
from lightning_modules.training.optim import (
    clip_gradients,
    parameter_groups,
    update_param_groups,
    warmup_cosine,
)

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


# ---- other settings than the checkpoint's ----------------------------------------------------


def optimized(rate: float, decay: float, betas=(0.9, 0.95), end: int = 20, steps: int = 0):
    """A small model's AdamW and schedule behind so many steps."""
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(parameter_groups(module, decay), lr=rate, betas=betas)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warmup_cosine(step, 2, end, 0.1)
    )
    for _ in range(steps):
        module(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()
        schedule.step()
    return module, optimizer, schedule


def resumed(*settings, end: int = 20):
    """The same, with the state of one of other settings that did 7 steps."""
    _, before, schedule_before = optimized(1e-2, 0.1, steps=7)
    _, optimizer, schedule = optimized(*settings, end=end)
    optimizer.load_state_dict(before.state_dict())
    schedule.load_state_dict(schedule_before.state_dict())
    return optimizer, schedule


def test_equal_settings_stay_the_same_bits():
    optimizer, schedule = resumed(1e-2, 0.1)
    groups = [dict(group) for group in optimizer.param_groups]
    rates = schedule.state_dict()
    assert update_param_groups(optimizer, schedule, 1e-2, (0.1, 0.0), (0.9, 0.95)) == []
    assert [dict(group) for group in optimizer.param_groups] == groups
    assert schedule.state_dict() == rates


def test_settings_of_the_config_act_from_the_first_step_on():
    optimizer, schedule = resumed(3e-3, 0.2, (0.8, 0.9), end=30)
    moments = [state["exp_avg"].clone() for state in optimizer.state.values()]
    said = update_param_groups(optimizer, schedule, 3e-3, (0.2, 0.0), (0.8, 0.9))
    assert said == [
        "weight_decay from 0.1 to 0.2",
        "betas from (0.9, 0.95) to (0.8, 0.9)",
        "learning_rate from 0.01 to 0.003",
    ]
    decaying, resting = optimizer.param_groups
    assert (decaying["weight_decay"], resting["weight_decay"]) == (0.2, 0.0)
    for step in range(7, 12):
        expected = 3e-3 * warmup_cosine(step, 2, 30, 0.1)
        assert [group["lr"] for group in optimizer.param_groups] == [expected] * 2
        assert schedule.get_last_lr() == [expected] * 2
        assert all(group["betas"] == (0.8, 0.9) for group in optimizer.param_groups)
        optimizer.step()
        schedule.step()
    pairs = zip(optimizer.state.values(), moments, strict=True)
    assert all(torch.equal(state["exp_avg"], moment) for state, moment in pairs)


def test_another_end_of_the_schedule_acts_from_the_first_step_on():
    optimizer, schedule = resumed(1e-2, 0.1, end=40)
    (said,) = update_param_groups(optimizer, schedule, 1e-2, (0.1, 0.0), (0.9, 0.95))
    assert said.startswith("the schedule from 0.00") and said.endswith("at this step")
    assert optimizer.param_groups[1]["lr"] == 1e-2 * warmup_cosine(7, 2, 40, 0.1)


def test_a_constant_rate_changes_and_one_that_a_callback_moved_stays():
    optimizer = torch.optim.AdamW(nn.Linear(3, 2).parameters(), lr=1e-2, weight_decay=0.1)
    assert update_param_groups(optimizer, None, 1e-2, (0.1,), (0.9, 0.999)) == []
    optimizer.param_groups[0]["lr"] = 1e-3
    assert update_param_groups(optimizer, None, 1e-2, (0.1,), (0.9, 0.999)) == []
    assert optimizer.param_groups[0]["lr"] == 1e-3
    assert update_param_groups(optimizer, None, 2e-2, (0.1,), (0.9, 0.999)) == [
        "learning_rate from 0.01 to 0.02"
    ]
    assert optimizer.param_groups[0]["lr"] == 2e-2


def test_another_kind_of_schedule_keeps_its_rate():
    optimizer = torch.optim.AdamW(nn.Linear(3, 2).parameters(), lr=1e-2, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    assert update_param_groups(optimizer, schedule, 5e-2, (0.1,), (0.9, 0.999)) == []
    assert optimizer.param_groups[0]["lr"] == 1e-2
