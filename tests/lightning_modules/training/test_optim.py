"""AdamW: settings, parameter groups, learning rates, and settings after a resume."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lightning_modules import GPT2, CrossEntropyHead, HarmonicHead
from lightning_modules.training.optim import (
    AdamWSettings,
    configured_hyperparameters,
    override_restored_hyperparameters,
    parameter_groups,
    rebuild_schedule,
    warmup_cosine,
)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ((0.0, 0.1), "learning_rate"),
        ((math.nan, 0.1), "learning_rate"),
        ((math.inf, 0.1), "learning_rate"),
        ((0.1, -0.1), "weight_decay"),
        ((0.1, math.nan), "weight_decay"),
        ((0.1, 0.1, (0.9, 1.0)), "betas"),
        ((0.1, 0.1, (-0.1, 0.9)), "betas"),
    ],
)
def test_settings_out_of_range_are_refused(settings, name):
    with pytest.raises(ValueError, match=name):
        AdamWSettings(*settings)


# ---- which parameters decay ----------------------------------------------------------------------


def tied_model(head: type, **options) -> nn.ModuleDict:
    network = GPT2(50, 8, num_layers=2, num_heads=1, width=8)
    model = nn.ModuleDict({"network": network, "head": head(8, 50, **options)})
    model["head"].tie(network.token_embedding().weight, num_padding=64 - 50)
    return model


@pytest.mark.parametrize(
    ("head", "options"), [(HarmonicHead, {}), (CrossEntropyHead, {"bias": True})]
)
def test_every_trainable_parameter_is_in_one_group_and_only_matrices_decay(head, options):
    model = tied_model(head, **options)
    model["network"].positions.weight.requires_grad_(False)
    groups = parameter_groups(model, 0.1)
    parameters = [p for group in groups for p in group["params"]]
    assert len(parameters) == len({id(p) for p in parameters})  # a tied matrix is there once
    assert {id(p) for p in parameters} == {id(p) for p in model.parameters() if p.requires_grad}
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert all(p.dim() == 2 for p in groups[0]["params"])
    assert all(p.dim() == 1 for p in groups[1]["params"])
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    AdamWSettings(0.5, 0.3).optimizer(groups).step()
    for name, parameter in model.named_parameters():
        decays = parameter.dim() == 2 and parameter.requires_grad
        expected = before[name] * (1 - 0.5 * 0.1) if decays else before[name]
        torch.testing.assert_close(parameter.detach(), expected)


# ---- the learning rate ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 6e-4 / 2000),  # not zero, which would waste a step
        (499, 1.5e-4),
        (1999, 6e-4),
        (2000, 6e-4),
        (4000, 3e-5 + 5.7e-4 * (2 + math.sqrt(2)) / 4),  # a quarter of the cosine
        (6000, 3.15e-4),  # half-way between the peak and the floor
        (10000, 3e-5),
        (20000, 3e-5),
    ],
)
def test_schedule_is_the_papers(step, rate):
    # Harmonic-loss paper §6: 2,000 steps of warm-up to 6e-4, a cosine to 3e-5 at step 10,000.
    assert 6e-4 * warmup_cosine(step, 2000, 10000, 3e-5 / 6e-4) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(
    ("warmup", "decay", "fractions"),
    [
        (0, 2, [1.0, 0.5, 0.0, 0.0]),  # no warm-up
        (1, 3, [1.0, 1.0, 0.5, 0.0]),
        (4, 4, [0.25, 0.5, 0.75, 1.0]),  # the run ends with its warm-up
        (8, 4, [0.125, 0.25, 0.375, 0.5]),  # or before
    ],
)
def test_schedule_of_a_short_run(warmup, decay, fractions):
    computed = [warmup_cosine(step, warmup, decay, 0.0) for step in range(4)]
    assert computed == pytest.approx(fractions)


# ---- the config's settings after a resume --------------------------------------------------------


def optimized(rate: float, decay: float, betas=(0.9, 0.95), end: int = 20, steps: int = 0):
    """A small model's AdamW and schedule after some steps."""
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    optimizer = AdamWSettings(rate, decay, betas).optimizer(parameter_groups(module, decay))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warmup_cosine(step, 2, end, 0.1)
    )
    for _ in range(steps):
        module(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()
        schedule.step()
    return optimizer, schedule


def resumed(*settings, end: int = 20):
    """Optimizer and schedule with these settings, restored from other ones that did 7 steps."""
    before, schedule_before = optimized(1e-2, 0.1, steps=7)
    optimizer, schedule = optimized(*settings, end=end)
    configured = configured_hyperparameters(optimizer)
    optimizer.load_state_dict(before.state_dict())
    schedule.load_state_dict(schedule_before.state_dict())
    changes = override_restored_hyperparameters(optimizer, configured)
    return optimizer, schedule, changes


def test_equal_settings_stay_the_same_bits():
    optimizer, schedule, changes = resumed(1e-2, 0.1)
    expected, expected_schedule = optimized(1e-2, 0.1, steps=7)
    assert changes == [] and schedule.get_last_lr() == expected_schedule.get_last_lr()
    assert rebuild_schedule(optimizer, schedule).get_last_lr() == expected_schedule.get_last_lr()
    for group, other in zip(optimizer.param_groups, expected.param_groups, strict=True):
        assert {**group, "params": 0} == {**other, "params": 0}


def test_settings_of_the_config_hold_from_the_first_step_on():
    optimizer, schedule, changes = resumed(3e-3, 0.2, (0.8, 0.9), end=30)
    moments = [state["exp_avg"].clone() for state in optimizer.state.values()]
    assert set(changes) == {
        "weight_decay from 0.1 to 0.2",
        "betas from (0.9, 0.95) to (0.8, 0.9)",
        "learning_rate from 0.01 to 0.003",
    }
    schedule = rebuild_schedule(optimizer, schedule)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.2, 0.0]
    assert all(group["betas"] == (0.8, 0.9) for group in optimizer.param_groups)
    pairs = zip(optimizer.state.values(), moments, strict=True)
    assert all(torch.equal(state["exp_avg"], moment) for state, moment in pairs)
    for step in range(7, 12):
        expected = 3e-3 * warmup_cosine(step, 2, 30, 0.1)
        assert [group["lr"] for group in optimizer.param_groups] == [expected] * 2
        assert schedule.get_last_lr() == [expected] * 2
        optimizer.step()
        schedule.step()


def test_a_constant_rate_changes_with_the_config_and_stays_where_a_callback_moved_it():
    parameters = [*nn.Linear(3, 2).parameters()]
    optimizer = torch.optim.AdamW(parameters, 1e-2)
    (options,) = configured_hyperparameters(optimizer)
    optimizer.param_groups[0]["lr"] = 1e-3
    assert override_restored_hyperparameters(optimizer, [options]) == []
    assert optimizer.param_groups[0]["lr"] == 1e-3
    configured = configured_hyperparameters(torch.optim.AdamW(parameters, 2e-2))
    override_restored_hyperparameters(optimizer, configured, learning_rate=False)
    assert optimizer.param_groups[0]["lr"] == 1e-3
    override_restored_hyperparameters(optimizer, configured)
    assert optimizer.param_groups[0]["lr"] == 2e-2
