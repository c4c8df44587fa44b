"""Factories as plain data and back, one in another included."""

import json
from functools import partial

import pytest
import torch

from lightning_modules import (
    CrossEntropyHead,
    FocalHead,
    HarmonicHead,
    SoftNearestNeighborHead,
    SphericalSoftmaxHead,
)
from lightning_modules.training.specs import build_from_spec, to_spec

FACTORIES = [
    CrossEntropyHead,
    partial(HarmonicHead, exponent=2),
    partial(SphericalSoftmaxHead, eps=0.5),
    FocalHead,
    partial(FocalHead, gamma=1.5, geometry=HarmonicHead),
    partial(FocalHead, geometry=partial(HarmonicHead, exponent=3, eps=1e-4)),
    partial(SoftNearestNeighborHead, geometry=partial(FocalHead, geometry=SphericalSoftmaxHead)),
]


@pytest.mark.parametrize("factory", FACTORIES)
def test_what_a_spec_builds_is_what_the_factory_builds(factory):
    written = json.loads(json.dumps(to_spec(factory)))  # plain names and numbers
    torch.manual_seed(0)
    expected = factory(4, 3)
    torch.manual_seed(0)
    built = build_from_spec(written, "head")(4, 3)
    assert repr(built) == repr(expected) and type(built) is type(expected)
    x = torch.randn(5, 4)
    assert torch.equal(built(x), expected(x))


def test_defaults_are_written_down_too():
    options = to_spec(FocalHead)["init_args"]
    assert options["gamma"] == 2.0
    assert options["geometry"]["class_path"].endswith(".CrossEntropyHead")
    assert options["geometry"]["init_args"] == {"bias": False, "fused": None}


@pytest.mark.parametrize(
    "factory",
    [
        lambda width, classes: CrossEntropyHead(width, classes),
        partial(FocalHead, geometry=lambda width, classes: CrossEntropyHead(width, classes)),
        partial(CrossEntropyHead, 4),
        partial(HarmonicHead, exponent=torch.tensor(2.0)),
    ],
)
def test_what_cannot_be_written_down_has_no_class_path(factory):
    assert to_spec(factory) == {"class_path": None}
    with pytest.raises(ValueError, match="pass head="):
        build_from_spec(to_spec(factory), "head")


def test_a_factory_is_its_own_spec():
    assert build_from_spec(HarmonicHead, "head") is HarmonicHead
