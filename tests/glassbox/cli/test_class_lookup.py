"""Which classes an option takes; what is said of one that is there and does not fit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lightning.pytorch.callbacks import EarlyStopping

from datamodules import SST2
from datamodules.tasks import Task
from glassbox.cli.class_lookup import compatible_classes, expected_type, resolve_class
from glassbox.cli.error_messages import user_message
from glassbox.cli.main import main
from lightning_modules import GPT2, MLP, FeatureNetwork, LossHead, TextTransformer
from tests.helpers.paths import config_path
from tests.helpers.planted_words import planted_data, small_classifier, text_trainer, write_planted


class Owner:
    """Options with all kinds of annotations."""

    def __init__(
        self,
        plain: MLP,
        made: Callable[[int], LossHead] = LossHead,
        either: GPT2 | None = None,
        made_or_none: Callable[[int], GPT2] | None = None,
        number: int = 0,
        bare=None,
    ) -> None: ...


@pytest.mark.parametrize(
    ("owner", "option", "wanted"),
    [
        (f"{__name__}.Owner", "plain", MLP),
        (f"{__name__}.Owner", "made", LossHead),
        (f"{__name__}.Owner", "either", GPT2),
        (f"{__name__}.Owner", "made_or_none", GPT2),
        (f"{__name__}.Owner", "number", None),
        (f"{__name__}.Owner", "bare", None),
        (f"{__name__}.Owner", "missing", None),
        ("nowhere.Owner", "made", None),
        ("lightning_modules.TextClassifier", "network", TextTransformer),
        ("lightning_modules.TextClassifier", "head", LossHead),
        ("lightning_modules.LanguageModel", "network", GPT2),
        ("lightning_modules.Classifier", "network", FeatureNetwork),
        ("datamodules.AlgorithmicData", "task", Task),
    ],
)
def test_the_annotation_tells_which_class_an_option_takes(owner, option, wanted):
    assert expected_type(owner, option) is wanted


def test_classes_are_found_by_short_name_and_by_full_path():
    assert resolve_class("MLP") is resolve_class("lightning_modules.MLP") is MLP
    assert resolve_class("SST2") is SST2
    assert resolve_class("collections.OrderedDict").__name__ == "OrderedDict"
    for name in ("MLPP", "nowhere.MLP", "collections.nothing", "os.getcwd"):
        assert resolve_class(name) is None


def test_what_fits_is_the_class_itself_or_derived_from_it_and_can_be_built():
    assert compatible_classes(TextTransformer) == ["TextTransformer"]
    heads = compatible_classes(LossHead)
    assert {"CrossEntropyHead", "HarmonicHead"} <= set(heads) and "LossHead" not in heads
    assert compatible_classes(Owner) == []  # of a package without names of its own


def said(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize(
    ("config", "arguments", "sentence"),
    [
        ("safr_sst2", ("--model.network", "MLP"), "model.network: 'MLP' does not fit, since it is "
         "no TextTransformer; those that do: TextTransformer (or"),
        ("safr_sst2", ("--model.network", "lightning_modules.MLP"), "'lightning_modules.MLP' does "
         "not fit, since it is no TextTransformer"),
        ("safr_sst2", ("--model.network", "TextTransformr"), "there is no class 'TextTransformr'; "
         "did you mean 'TextTransformer'?; known here: TextTransformer (or"),
        ("gpt2_cpu", ("--model.network", "MLP"), "since it is no GPT2; those that do: GPT2 (or"),
        ("quickstart", ("--model.head", "MLP"), "model.head: 'MLP' does not fit, since it is no "
         "LossHead; those that do: CrossEntropyHead, "),
        ("quickstart", ("--data", "MLP"), "data: 'MLP' does not fit, since it is of another kind; "
         "those that do: "),
    ],
)  # fmt: skip
def test_a_class_that_does_not_fit_is_not_said_to_be_missing(
    in_root, capsys, config, arguments, sentence
):
    found = said(capsys, "check", "--config", str(config_path(config)), *arguments)
    assert sentence in found
    assert "MLP'?" not in found  # no suggestion of what was typed


def test_a_class_that_does_not_fit_in_a_config_is_told_too(in_root, tmp_path, capsys):
    text = config_path("safr_sst2").read_text()
    (tmp_path / "run.yaml").write_text(
        text.replace("class_path: TextTransformer", "class_path: MLP")
    )
    found = said(capsys, "check", "--config", str(tmp_path / "run.yaml"))
    assert "model.network: 'MLP' does not fit, since it is no TextTransformer" in found


@pytest.mark.parametrize("monitor", ["val/acuracy", "val/accuracy"])
def test_early_stopping_without_its_metric_is_explained(tmp_path, monitor):
    data = planted_data(write_planted(tmp_path))
    every = 2 if monitor == "val/accuracy" else 1  # no validation yet, or a slip of the pen
    stopping = EarlyStopping(monitor, mode="max", check_on_train_epoch_end=every == 2)
    trainer = text_trainer(stopping, log_every_n_steps=8, check_val_every_n_epoch=every)
    with pytest.raises(RuntimeError) as error:
        trainer.fit(small_classifier(data), datamodule=data)
    sentence = user_message(error.value)
    assert sentence.startswith(f"EarlyStopping: monitor is '{monitor}', which is not logged when")
    known = sentence.partition("there are then: ")[2].partition(";")[0].split(", ")
    assert set(known) == set(trainer.callback_metrics) and "train/loss" in known
    assert ("did you mean 'val/accuracy'?" in sentence) == (every == 1)
    assert "check_on_train_epoch_end to false" in sentence


def test_early_stopping_without_any_metric_is_explained():
    message = (
        "Early stopping conditioned on metric `val/loss` which is not available. Pass in or modify "
        "your `EarlyStopping` callback to use any of the following: ``"
    )
    assert "those there are then: none; for a metric" in user_message(RuntimeError(message))
