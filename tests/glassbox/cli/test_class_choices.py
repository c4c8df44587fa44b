"""Classes chosen on the command line have their own defaults, and what else is set of them."""

import pytest

from glassbox.cli.argv import expand_class_defaults, parse
from glassbox.cli.lightning_cli import build_parser

MNIST = "configs/mnist/mnist_harmonic.yaml"
ADDITION = "configs/algorithmic/modular_addition.yaml"


PARSER = build_parser()


def resolved(*words):
    return parse(PARSER.parse_args, ["fit", *words]).fit.model.init_args


def options(spec):
    return spec.init_args.as_dict()


def test_a_class_has_its_own_defaults_and_not_those_of_the_class_it_replaces(in_root):
    model = resolved("--config", MNIST, "--model.network", "VectorMLP")
    assert model.network.class_path.endswith(".VectorMLP")
    assert options(model.network) == {"hidden_dim": 128, "num_layers": 1}  # an MLP has 100
    model = resolved("--config", MNIST, "--model.head=SphericalSoftmaxHead")
    assert options(model.head) == {"eps": 1e-4}


@pytest.mark.parametrize(
    "words",
    [
        ["--model.network=VectorMLP", "--model.network.hidden_dim=7"],
        ["--model.network.hidden_dim", "7", "--model.network", "VectorMLP"],
        ["--model.init_args.network=VectorMLP", "--model.init_args.network.hidden_dim=7"],
    ],
)
def test_what_is_typed_of_a_class_holds_wherever_it_stands(in_root, words):
    model = resolved("--config", MNIST, *words)
    assert options(model.network) == {"hidden_dim": 7, "num_layers": 1}


def test_a_class_that_the_config_names_keeps_what_the_config_sets(in_root):
    model = resolved(f"--config={MNIST}", "--model.head", "HarmonicHead")
    assert (model.head.init_args.exponent, model.head.init_args.eps) == (56, 1e-4)
    full = resolved("--config", MNIST, "--model.head", "lightning_modules.HarmonicHead")
    assert full.head == model.head
    # Null is a default like any other, of a class two classes down as well.
    words = ("--model.head", "FocalHead", "--model.head.geometry", "HarmonicHead")
    focal = resolved("--config", MNIST, *words).head.init_args
    assert options(focal.geometry) == {"exponent": None, "eps": 1e-10, "fused": None}
    assert focal.gamma == 2


def test_a_class_within_the_data_has_its_own_defaults(in_root):
    words = ["fit", "--config", ADDITION, "--data.task", "EquivalenceClasses"]
    data = parse(PARSER.parse_args, words).fit.data.init_args
    from datamodules import EquivalenceClasses

    assert data.task.init_args.modulus == EquivalenceClasses().modulus


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "--model", "Classifier", "--data", "MNIST"],  # of the model and the data themselves
        ["--trainer.logger", "TensorBoardLogger"],
        ["--model.head.help", "HarmonicHead"],
        ["--model.help=Classifier"],
        ["--model.head", "NoSuchHead"],
        ["--model.activation", "output"],
        ["--data.data_dir", "Data"],
        ["--model.head", '{"class_path": "HarmonicHead"}'],
        ["--config", "gone.yaml", "--model.learning_rate", "0.1"],
        ["--model.head"],
    ],
)
def test_other_words_stay_as_they_are(words):
    assert expand_class_defaults(words) == words


def test_an_option_that_is_null_after_its_class_is_null(in_root):
    words = ["--config", MNIST, "--model.head", "HarmonicHead", "--model.head.exponent", "null"]
    assert expand_class_defaults(words)[2:4] == ["--model.head", "HarmonicHead"]
    assert resolved(*words).head.init_args.exponent is None
    other = ["--config", ADDITION, "--model.head", "FocalHead", "--model.head.gamma", "3"]
    nested = ["--model.head.geometry", "HarmonicHead", "--model.head.geometry.exponent", "null"]
    head = resolved(*other, *nested).head.init_args
    assert (head.gamma, head.geometry.init_args.exponent) == (3, None)
