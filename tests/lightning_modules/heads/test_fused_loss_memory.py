"""Fused losses: chunk sizes do not matter, logits are never stored, gradients only on request."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_modules.heads.fused import chunks
from lightning_modules.heads.fused import losses as fused
from tests.helpers.exact_losses import (
    CLASSES,
    FLOATS,
    assert_close,
    bias_of,
    cloud,
    each_loss,
    evaluate,
    loss_by_name,
)


@each_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_results_do_not_depend_on_chunks_and_blocks(name, dtype, monkeypatch):
    x, weight, targets = cloud()
    targets[4] = -100
    options = {"bias": bias_of()} if name == "cross_entropy" else {}
    results = []
    for chunk, rows in [(256, 8), (1, 1), (3, 2), (5, 7)]:
        monkeypatch.setattr(chunks, "CHUNK_ON_CPU", dict.fromkeys(FLOATS, chunk))
        monkeypatch.setattr(chunks, "ROWS_ON_CPU", rows)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            results.append(evaluate(loss_by_name(name, targets, **options), x, weight))
    # In bfloat16 each chunk's product is rounded before it is added up.
    tolerance = 1e-6 if dtype == torch.float32 else 2**-8
    for got in results[1:]:
        assert_close(got, [value.double() for value in results[0]], tolerance)


class Allocations(TorchDispatchMode):
    """Peak bytes of the tensors created while active, including those inside fused operators."""

    def __init__(self):
        super().__init__()
        self.storages = torch.utils.weak.WeakIdKeyDictionary()
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "glassbox":
            operators = {"cross_entropy": fused._cross_entropy, "harmonic": fused._harmonic}
            with self:
                return operators[func._opname]._init_fn(*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        for value in torch.utils._pytree.tree_leaves(result):
            if isinstance(value, torch.Tensor):
                self.storages[value.untyped_storage()] = None
        self.peak = max(self.peak, sum(storage.nbytes() for storage in self.storages))
        return result


@each_loss
def test_memory_per_token_does_not_grow_with_the_number_of_classes(name, small_chunks):
    width, classes = 4, 300
    peaks = {}
    for tokens in (20, 120):
        x, weight, targets = cloud(width, classes, tokens)
        x.requires_grad_(True)
        weight.requires_grad_(True)
        with Allocations() as allocations:
            loss_by_name(name, targets)(x, weight)
        peaks[tokens] = allocations.peak
    logits = 4 * 5 * classes  # of one chunk
    assert logits < peaks[20]
    # Per token its gradient, its weight in the mean, its target and a few numbers; no 300 logits.
    growth = (peaks[120] - peaks[20]) / 100
    assert 4 * width <= growth <= 4 * (2 * width + 10)


@each_loss
def test_no_gradient_is_computed_unless_required(name, monkeypatch):
    x, weight, targets = cloud()
    loss_of = loss_by_name(name, targets)
    operator = getattr(fused, f"_{name}")
    outputs = []

    def spy(*args):
        outputs.append(operator(*args))
        return outputs[-1]

    monkeypatch.setattr(fused, f"_{name}", spy)
    expected = evaluate(loss_of, x, weight)[0]
    assert [value.numel() for value in outputs[0][1:3]] == [x.numel(), weight.numel()]
    frozen = loss_of(x, weight)  # nothing asks for a gradient
    with torch.no_grad():
        unrecorded = loss_of(x.clone().requires_grad_(True), weight.clone().requires_grad_(True))
    with torch.inference_mode():
        inferred = loss_of(x, weight)
    for loss, output in zip((frozen, unrecorded, inferred), outputs[1:], strict=True):
        assert not loss.requires_grad
        assert loss == expected
        assert [value.numel() for value in output[1:]] == [0, 0, 0]


@each_loss
def test_inputs_are_not_modified(name, small_chunks):
    x, weight, targets = cloud()
    targets[3] = -100
    bias = bias_of()
    before = [value.clone() for value in (x, weight, targets, bias)]
    options = {"bias": bias} if name == "cross_entropy" else {}
    loss_by_name(name, targets, num_classes=CLASSES, **options)(x.requires_grad_(True), weight)
    for value, old in zip((x, weight, targets, bias), before, strict=True):
        assert torch.equal(value, old)
