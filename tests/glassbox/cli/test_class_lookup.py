"""Which classes an option takes, and errors of Lightning's callbacks in one line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import Logger

from datamodules import SST2
from datamodules.tasks import Task
from glassbox.cli.class_lookup import compatible_classes, expected_type, resolve_class
from glassbox.cli.error_messages import user_message
from lightning_modules import GPT2, MLP, FeatureNetwork, LossHead, TextTransformer
from tests.helpers.planted_words import planted_data, small_classifier, text_trainer, write_planted


class Owner:
    """Options with all kinds of annotations."""

    def __init__(
        self,
        plain: MLP,
        factory: Callable[[int], LossHead] = LossHead,
        either: GPT2 | None = None,
        factory_or_none: Callable[[int], GPT2] | None = None,
        number: int = 0,
        bare=None,
    ) -> None: ...


@pytest.mark.parametrize(
    ("owner", "option", "expected"),
    [
        (f"{__name__}.Owner", "plain", MLP),
        (f"{__name__}.Owner", "factory", LossHead),
        (f"{__name__}.Owner", "either", GPT2),
        (f"{__name__}.Owner", "factory_or_none", GPT2),
        (f"{__name__}.Owner", "number", None),
        (f"{__name__}.Owner", "bare", None),
        (f"{__name__}.Owner", "missing", None),
        ("nowhere.Owner", "factory", None),
        ("lightning_modules.TextClassifier", "network", TextTransformer),
        ("lightning_modules.Classifier", "network", FeatureNetwork),
        ("datamodules.AlgorithmicData", "task", Task),
        ("", "trainer.logger", Logger),
        ("", "trainer.callbacks", Callback),
        ("", "trainer.max_steps", None),
    ],
)
def test_the_annotation_decides_which_class_an_option_takes(owner, option, expected):
    assert expected_type(owner, option) is expected


def test_classes_are_resolved_by_short_name_and_by_full_path():
    assert resolve_class("MLP") is resolve_class("lightning_modules.MLP") is MLP
    assert resolve_class("SST2") is SST2
    assert resolve_class("collections.OrderedDict").__name__ == "OrderedDict"
    for name in ("MLPP", "nowhere.MLP", "collections.nothing", "os.getcwd"):
        assert resolve_class(name) is None


def test_compatible_classes_are_derived_from_the_expected_one_and_can_be_built():
    assert compatible_classes(TextTransformer) == ["TextTransformer"]
    heads = compatible_classes(LossHead)
    assert {"CrossEntropyHead", "HarmonicHead"} <= set(heads) and "LossHead" not in heads
    assert {"FeatureNetwork", "Probe"}.isdisjoint(
        compatible_classes(FeatureNetwork) + compatible_classes(Callback)
    )
    assert "TensorBoardLogger" in compatible_classes(Logger)
    assert compatible_classes(Owner) == []


@pytest.mark.parametrize("monitor", ["val/acuracy", "val/accuracy"])
def test_early_stopping_without_its_metric_is_answered_in_one_line(tmp_path, monitor):
    data = planted_data(write_planted(tmp_path))
    every = 2 if monitor == "val/accuracy" else 1  # not validated yet, or misspelled
    stopping = EarlyStopping(monitor, mode="max", check_on_train_epoch_end=every == 2)
    trainer = text_trainer(stopping, log_every_n_steps=8, check_val_every_n_epoch=every)
    with pytest.raises(RuntimeError) as error:
        trainer.fit(small_classifier(data), datamodule=data)
    message = user_message(error.value)
    assert message is not None and "\n" not in message
    assert monitor in message and "train/loss" in message and "check_on_train_epoch_end" in message


def test_an_error_of_the_program_has_no_message_for_the_user():
    assert user_message(AttributeError("bug")) is None
    assert user_message(ValueError("raised elsewhere")) is None
