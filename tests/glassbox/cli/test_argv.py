"""Classes chosen on the command line keep their own defaults; nested options can be null."""

from __future__ import annotations

import pytest
from jsonargparse import ArgumentParser

from datamodules import EquivalenceClasses
from glassbox.cli.argv import expand_class_defaults, parse, rewrite_null_options
from glassbox.cli.lightning_cli import build_parser

MNIST = "configs/mnist/mnist_harmonic.yaml"
ADDITION = "configs/algorithmic/modular_addition.yaml"


@pytest.fixture(scope="module")
def parser():
    return build_parser()


@pytest.fixture
def parsed(parser, in_root):
    """The model's options as the command line parses them."""

    def call(*words):
        return parse(parser.parse_args, ["fit", *words]).fit.model.init_args

    return call


def options(spec):
    return spec.init_args.as_dict()


def test_a_class_has_its_own_defaults_and_not_those_of_the_class_it_replaces(parsed):
    model = parsed("--config", MNIST, "--model.network", "VectorMLP")
    assert model.network.class_path.endswith(".VectorMLP")
    assert options(model.network) == {"hidden_dim": 128, "num_layers": 1}  # an MLP has 100
    model = parsed("--config", MNIST, "--model.head=SphericalSoftmaxHead")
    assert options(model.head) == {"eps": 1e-4}


@pytest.mark.parametrize(
    "words",
    [
        ["--model.network=VectorMLP", "--model.network.hidden_dim=7"],
        ["--model.network.hidden_dim", "7", "--model.network", "VectorMLP"],
        ["--model.init_args.network=VectorMLP", "--model.init_args.network.hidden_dim=7"],
    ],
)
def test_an_option_of_a_class_may_be_typed_before_or_after_it(parsed, words):
    model = parsed("--config", MNIST, *words)
    assert options(model.network) == {"hidden_dim": 7, "num_layers": 1}


def test_a_class_that_the_config_names_keeps_what_the_config_sets(parsed):
    model = parsed(f"--config={MNIST}", "--model.head", "HarmonicHead")
    assert (model.head.init_args.exponent, model.head.init_args.eps) == (56, 1e-4)
    full = parsed("--config", MNIST, "--model.head", "lightning_modules.HarmonicHead")
    assert full.head == model.head


def test_a_class_two_levels_down_has_its_own_defaults(parsed):
    words = ("--model.head", "FocalHead", "--model.head.geometry", "HarmonicHead")
    focal = parsed("--config", MNIST, *words).head.init_args
    assert options(focal.geometry) == {"exponent": None, "eps": 1e-10, "fused": None}
    assert focal.gamma == 2


def test_a_class_within_the_data_has_its_own_defaults(parser, in_root):
    words = ["fit", "--config", ADDITION, "--data.task", "EquivalenceClasses"]
    data = parse(parser.parse_args, words).fit.data.init_args
    assert data.task.init_args.modulus == EquivalenceClasses().modulus


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "--model", "Classifier", "--data", "MNIST"],
        ["--trainer.logger", "TensorBoardLogger"],
        ["--model.head.help", "HarmonicHead"],
        ["--model.head", "NoSuchHead"],
        ["--model.activation", "output"],
        ["--data.data_dir", "Data"],
        ["--model.head", '{"class_path": "HarmonicHead"}'],
        ["--config", "gone.yaml", "--model.learning_rate", "0.1"],
        ["--model.head"],
        ["--model.rate", "null"],
        ["--trainer.logger.name", "null"],
        ["fit", "--config", "null"],
    ],
)
def test_other_words_are_left_as_they_are(words):
    assert expand_class_defaults(words) == words == rewrite_null_options(words)


# ---- null ------------------------------------------------------------------------------------


class Head: ...


class Power(Head):
    def __init__(self, exponent: float | None = 2.0, eps: float = 0.5): ...


class Model:
    def __init__(self, head: Head, rate: float | None = 0.1): ...


def small_parser():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Model, "model")
    return parser


def parsed_small(*words):
    return small_parser().parse_args(["--model=Model", *rewrite_null_options(words)]).model


@pytest.mark.parametrize(
    "null",
    [
        ["--model.head.exponent", "null"],
        ["--model.head.exponent=null"],
        ["--model.head.init_args.exponent=null"],
        ["--model.init_args.head.init_args.exponent", "null"],
    ],
)
def test_an_option_of_a_nested_class_can_be_null_and_the_others_stay(null):
    head = parsed_small("--model.head=Power", "--model.head.eps=3", *null).init_args.head
    assert head.init_args.exponent is None and head.init_args.eps == 3


def test_the_rewriting_of_null_is_still_needed():
    with pytest.raises(Exception, match="exponent"):
        small_parser().parse_args(
            ["--model=Model", "--model.head=Power", "--model.head.exponent=null"]
        )


def test_an_option_can_be_null_after_its_class_was_chosen(parsed):
    words = ("--model.head", "HarmonicHead", "--model.head.exponent", "null")
    assert parsed("--config", MNIST, *words).head.init_args.exponent is None
    assert parsed("--config", ADDITION, *words[2:]).head.init_args.exponent is None
    other = ("--model.head", "FocalHead", "--model.head.gamma", "3")
    nested = ("--model.head.geometry", "HarmonicHead", "--model.head.geometry.exponent", "null")
    head = parsed("--config", ADDITION, *other, *nested).head.init_args
    assert (head.gamma, head.geometry.init_args.exponent) == (3, None)
