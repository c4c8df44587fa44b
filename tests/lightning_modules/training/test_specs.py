"""Networks and heads as plain data and back, also nested ones."""

import json
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from lightning_modules import (
    CrossEntropyHead,
    FocalHead,
    HarmonicHead,
    LossHead,
    SoftNearestNeighborHead,
    SphericalSoftmaxHead,
)
from lightning_modules.training.specs import build_from_spec, check_data_matches_model, to_spec

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
def test_a_spec_builds_what_the_factory_builds(factory):
    written = json.loads(json.dumps(to_spec(factory)))  # plain names and numbers
    torch.manual_seed(0)
    expected = factory(4, 3)
    torch.manual_seed(0)
    built = build_from_spec(written, "head")(4, 3)
    assert repr(built) == repr(expected) and type(built) is type(expected)
    x = torch.randn(5, 4)
    assert torch.equal(built(x), expected(x))


def test_a_spec_contains_defaults():
    options = to_spec(FocalHead)["init_args"]
    assert options["gamma"] == 2.0
    assert options["geometry"]["class_path"] == "lightning_modules.CrossEntropyHead"
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
def test_other_functions_and_options_have_no_spec(factory):
    assert to_spec(factory) == {"class_path": None}
    with pytest.raises(ValueError, match="head"):
        build_from_spec(to_spec(factory), "head")


@pytest.mark.parametrize(
    "path", ["os.system", "torch.nn.Linear", "lightning_modules.MLP", "lightning_modules.Nothing"]
)
def test_a_class_of_another_kind_is_refused(path):
    with pytest.raises(ValueError, match="head"):
        build_from_spec({"class_path": path, "init_args": {}}, "head", LossHead)


@pytest.mark.parametrize("size", ["vocab_size", "num_classes"])
def test_sizes_must_be_those_of_the_data(size):
    sizes = {"vocab_size": 31, "num_classes": 31}
    check_data_matches_model(CrossEntropyHead(2, 2), sizes, None)  # a plain loader has no sizes
    check_data_matches_model(CrossEntropyHead(2, 2), sizes, SimpleNamespace(**sizes))
    with pytest.raises(ValueError, match=size):
        check_data_matches_model(CrossEntropyHead(2, 2), sizes, SimpleNamespace(**{size: 24}))
