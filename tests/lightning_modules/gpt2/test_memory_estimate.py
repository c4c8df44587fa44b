"""The estimate of memory against PyTorch's measured allocations on the CPU."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile

from lightning_modules import GPT2, CrossEntropyHead, HarmonicHead, LanguageModel
from lightning_modules.gpt2.memory_estimate import (
    TrainingSetup,
    activation_bytes,
    head_bytes,
    memory_parts,
)


def model_of(layers, heads, width, length, vocabulary, head=HarmonicHead) -> LanguageModel:
    network = partial(GPT2, num_layers=layers, num_heads=heads, width=width)
    return LanguageModel(network, head, vocabulary, length)


def loss_of(model: LanguageModel, tokens: Tensor, half: bool) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        return model.head.loss(model.network(tokens), tokens)


@pytest.mark.parametrize("half", [True, False], ids=["bf16-mixed", "float32"])
@pytest.mark.parametrize("sizes", [(3, 6, 384, 128, 300)])
def test_activations_match_what_autograd_saves(sizes, half):
    model = model_of(*sizes)
    known = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Tensor] = {}  # by storage: views of one memory count once

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in known:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    tokens = torch.randint(sizes[-1], (2, sizes[3]))
    with (
        saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=half),
    ):
        features = model.network(tokens)
    assert features.requires_grad
    saved = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    setup = TrainingSetup(2, sizes[3], half, on_gpu=False)
    parts = memory_parts(model, setup)
    assert parts is not None
    estimate = parts["activations"] + parts.get("16-bit copies of weights", 0)
    assert estimate == pytest.approx(saved, rel=0.01)


def peak_growth(step) -> int:
    """Peak bytes of PyTorch's CPU allocator during a step, relative to before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        step()
    events = run.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    now = peak = 0
    for _, change in changes:
        now += change
        peak = max(peak, now)
    return peak


@pytest.mark.parametrize("half", [True, False], ids=["bf16-mixed", "float32"])
@pytest.mark.parametrize("head", [HarmonicHead, CrossEntropyHead])
def test_peak_of_a_step_with_a_fused_head(head, half):
    sizes = (2, 4, 128, 64, 5000)
    model = model_of(*sizes, head)
    tokens = torch.randint(sizes[-1], (3, sizes[3]))
    loss_of(model, tokens, half).backward()  # allocates the gradients
    measured = peak_growth(lambda: loss_of(model, tokens, half).backward())
    parts = memory_parts(model, TrainingSetup(3, sizes[3], half, on_gpu=False))
    assert parts is not None
    estimate = sum(parts.values())
    estimate -= parts["weights"] + parts["gradients"] + parts["AdamW's moments"]
    assert estimate == pytest.approx(measured, rel=0.15)


def test_memory_of_an_unfused_head():
    head = CrossEntropyHead(64, 4000, fused=False)
    features = torch.randn(500, 64, requires_grad=True)
    targets = torch.randint(4000, (500,))
    head.loss(features, targets).backward()
    measured = peak_growth(lambda: head.loss(features, targets).backward())
    assert head_bytes(head, TrainingSetup(1, 500, mixed_precision=False)) == pytest.approx(
        measured, rel=0.5
    )


def test_parts_of_gpt2_small():
    with torch.device("meta"):
        model = nn.Module()
        model.network = GPT2(50257, 1024, bias=False)
        model.head = HarmonicHead(768, 50257)
        model.head.tie(model.network.token_embedding().weight, num_padding=47)
    parts = memory_parts(
        model, TrainingSetup(12, 1024, mixed_precision=True, copies_gradients=True)
    )
    assert parts is not None
    parameters = 50304 * 768 + 1024 * 768 + 12 * (12 * 768**2 + 2 * 768) + 768
    fours = ("weights", "gradients", "DDP's buckets")
    assert {parts[name] for name in fours} == {4 * parameters}
    assert parts["AdamW's moments"] == 8 * parameters
    # By hand: 36 values of width and 16 + 48 bytes a block and token; norm, deviations, index.
    assert parts["activations"] == 12 * 1024 * (12 * (36 * 768 + 64) + 4 * 768 + 16)
    assert parts["16-bit copies of weights"] == 2 * 12 * 12 * 768**2


def test_dropout_stores_one_byte_per_mask_value():
    plain, dropped = (GPT2(300, 64, preset="3M", dropout=p) for p in (0.0, 0.1))
    setup = TrainingSetup(2, 64, mixed_precision=True)
    extra = activation_bytes(dropped, setup) - activation_bytes(plain, setup)
    assert extra == 2 * 64 * 64 * (2 * 2 + 1)  # tokens, width, two places of two blocks and one


def test_other_models_have_no_estimate():
    other = nn.Module()
    other.network, other.head = nn.Linear(4, 4), HarmonicHead(4, 5)
    assert memory_parts(other, TrainingSetup(1, 8, mixed_precision=False)) is None
    assert memory_parts(nn.Linear(4, 4), TrainingSetup(1, 8, mixed_precision=False)) is None
