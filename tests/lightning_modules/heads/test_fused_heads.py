"""Heads with a fused loss: agreement with unfused heads, and when the fused loss is used."""

import pytest
import torch

from lightning_modules.heads import CrossEntropyHead, HarmonicHead
from tests.helpers.exact_losses import CLASSES, TOKENS, WIDTH, assert_close, cloud

each_head = pytest.mark.parametrize("cls", [CrossEntropyHead, HarmonicHead])


def two_heads(cls, num_padding=0, **options):
    """The same head unfused and fused, tied to one embedding where there is padding."""
    heads = [cls(WIDTH, CLASSES, fused=fused, **options) for fused in (False, True)]
    heads[1].load_state_dict(heads[0].state_dict())
    if num_padding:
        _, weight, _ = cloud(classes=CLASSES + num_padding, seed=8)
        for head in heads:
            head.tie(torch.nn.Parameter(weight.clone()), num_padding)
    return heads


@pytest.mark.parametrize("num_padding", [0, 6])
@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (CrossEntropyHead, {}),
        (CrossEntropyHead, {"bias": True}),
        (HarmonicHead, {}),
        (HarmonicHead, {"exponent": 28, "eps": 1e-4}),
    ],
)
def test_fused_and_unfused_heads_agree(cls, options, num_padding, small_chunks):
    torch.manual_seed(0)
    x, _, targets = cloud()
    targets[5] = -100
    results = []
    for head in two_heads(cls, num_padding, **options):
        leaf = x.clone().requires_grad_(True)
        loss = head.loss(leaf.view(1, TOKENS, WIDTH), targets.view(1, TOKENS))
        results.append([loss, *torch.autograd.grad(loss, (leaf, *head.parameters())), head(x)])
    tolerance = 1e-6 if options.get("exponent", 1) < 28 else 1e-5
    assert_close(results[1], [value.double() for value in results[0]], tolerance)
    assert len(results[0]) == 4 + (options == {"bias": True})


@each_head
def test_loss_is_fused_above_4096_classes_by_default(cls):
    assert not cls(1, 4096).uses_fused_loss()
    assert cls(1, 4097).uses_fused_loss()
    assert cls(1, 2, fused=True).uses_fused_loss()
    assert not cls(1, 4097, fused=False).uses_fused_loss()


@each_head
def test_fused_selects_the_implementation(cls, monkeypatch):
    called = []
    module = __import__(cls.__module__, fromlist=["_"])
    name = "fused_harmonic" if cls is HarmonicHead else "fused_cross_entropy"
    original = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args: called.append(1) or original(*args))
    x, _, targets = cloud()
    cls(WIDTH, CLASSES, fused=False).loss(x, targets)
    assert not called
    cls(WIDTH, CLASSES, fused=True).loss(x, targets)
    assert called
