"""Every head of lightning_modules/heads and docs/architecture.md, for the contract tests.

Heads with an option ``fused`` are also tested with fused=True, which small sizes do not use by
default; heads with a ``geometry`` also with the harmonic one.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable
from functools import partial
from types import ModuleType

import pytest
import torch
from torch import Tensor

import lightning_modules.heads
from lightning_modules.heads import HarmonicHead, LossHead
from tests.helpers.package_files import classes
from tests.helpers.paths import ROOT

HEADS = classes(lightning_modules.heads, LossHead)


def documented_heads() -> list[type[LossHead]]:
    """The heads in the Python blocks of docs/architecture.md."""
    page = ROOT / "docs" / "architecture.md"
    module = ModuleType("documented_heads")
    sys.modules[module.__name__] = module  # where the compiler looks for their globals
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        exec(block, vars(module))
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__
    ]


DOCUMENTED = documented_heads()
WIDTH, CLASSES = 12, 9


def each(heads: Iterable[type[LossHead]]) -> pytest.MarkDecorator:
    """Parametrize by every head, and by its fused form where there is one."""
    forms = []
    for cls in heads:
        forms.append(pytest.param(cls, id=cls.__name__))
        if "fused" in inspect.signature(cls).parameters:
            forms.append(pytest.param(partial(cls, fused=True), id=f"{cls.__name__}-fused"))
        if "geometry" in inspect.signature(cls).parameters:
            harmonic = partial(cls, geometry=HarmonicHead)
            forms.append(pytest.param(harmonic, id=f"{cls.__name__}-harmonic"))
    return pytest.mark.parametrize("cls", forms)


each_head = each([*HEADS, *DOCUMENTED])


def build(cls: Callable[..., LossHead], width: int = WIDTH, classes: int = CLASSES) -> LossHead:
    """A head of these sizes, always with the same weights."""
    torch.manual_seed(0)
    return cls(width, classes)


def examples(*shape: int, width: int = WIDTH, classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    """Features (*shape, width) and targets of that shape, always the same."""
    rng = torch.Generator().manual_seed(1)
    features = torch.randn(*shape, width, generator=rng)
    return features, torch.randint(classes, shape, generator=rng)


def loss_and_gradients(
    head: LossHead, features: Tensor, targets: Tensor, **options
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Loss, gradient of the features, gradients of the parameters."""
    features = features.detach().clone().requires_grad_(True)
    head.zero_grad(set_to_none=True)
    loss = head.loss(features, targets, **options)
    loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in head.named_parameters()}
    return loss.detach(), features.grad, gradients
