"""Options set to null, through jsonargparse's own parser and through the command line."""

import pytest
from jsonargparse import ArgumentParser

from glassbox.cli.argv import parse, rewrite_null_options
from glassbox.cli.lightning_cli import build_parser

CONFIG = "configs/algorithmic/modular_addition.yaml"


class Head: ...


class Power(Head):
    def __init__(self, exponent: float | None = 2.0, eps: float = 0.5): ...


class Wrapped(Head):
    def __init__(self, geometry: Head, weight: float | None = 1.0): ...


class Model:
    def __init__(self, head: Head, rate: float | None = 0.1): ...


def parsed(*words):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Model, "model")
    return parser.parse_args(["--model=Model", *rewrite_null_options(words)]).model.init_args


@pytest.mark.parametrize(
    "null",
    [
        ["--model.head.exponent", "null"],
        ["--model.head.exponent=null"],
        ["--model.head.init_args.exponent=null"],
        ["--model.init_args.head.init_args.exponent", "null"],
    ],
)
def test_an_option_of_a_class_within_the_model_can_be_null_and_the_others_stay(null):
    head = parsed("--model.head=Power", "--model.head.eps=3", *null).head
    assert head.init_args.exponent is None and head.init_args.eps == 3


def test_an_option_two_classes_down_can_be_null():
    words = ("--model.head=Wrapped", "--model.head.geometry=Power")
    head = parsed(*words, "--model.head.geometry.eps=3", "--model.head.geometry.exponent=null").head
    assert head.init_args.geometry.init_args.exponent is None
    assert head.init_args.geometry.init_args.eps == 3 and head.init_args.weight == 1


def test_without_the_spelling_the_parser_refuses_or_it_is_no_longer_needed():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Model, "model")
    with pytest.raises(Exception, match="exponent"):
        parser.parse_args(["--model=Model", "--model.head=Power", "--model.head.exponent=null"])


@pytest.mark.parametrize(
    "words",
    [
        ["--model.rate", "null"],
        ["--model.init_args.rate=3"],
        ["--trainer.logger.name", "null"],
        ["--model.head.name", "nullable"],
        ["--model.head.exponent"],
        ["fit", "--config", "null"],
    ],
)
def test_other_words_are_left_as_they_are(words):
    assert rewrite_null_options(words) == words


def test_the_command_line_takes_null_for_the_exponent_of_a_head(in_root):
    words = ["fit", "--config", CONFIG, "--model.head.exponent", "null"]
    head = parse(build_parser().parse_args, words).fit.model.init_args.head
    assert head.class_path.endswith("HarmonicHead") and head.init_args.exponent is None
