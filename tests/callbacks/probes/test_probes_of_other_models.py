"""What measures tokens or a task says in a sentence that a classifier of texts has none of them."""

from __future__ import annotations

import pytest

from callbacks import (
    Analogies,
    EmbeddingGeometry,
    Generalization,
    Parallelograms,
    TextSamples,
    WeightNorms,
)
from lightning_modules import Classifier
from tests.helpers.planted_words import planted_data, small_classifier, text_trainer, write_planted

REMOVE = "remove (it|the probe) from trainer.callbacks"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return planted_data(write_planted(tmp_path_factory.mktemp("planted")))


@pytest.mark.parametrize(
    ("callback", "reason"),
    [
        (WeightNorms, "WeightNorms reads the features of inputs, which a TextClassifier does not"),
        (Generalization, "Generalization needs the accuracy on training and test set at every"),
        (EmbeddingGeometry, "EmbeddingGeometry needs a data module with a task"),
        (Parallelograms, "Parallelograms needs a data module that turns words into tokens of a"),
        (Analogies, "Analogies needs a data module that turns words into tokens of a lang"),
        (TextSamples, "TextSamples needs a language model and text: TextClassifier has no generat"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "validate", "test"])
def test_a_callback_for_other_models_is_refused_before_anything_runs(
    data, callback, reason, command
):
    trainer = text_trainer(callback())
    with pytest.raises(ValueError, match=f"{reason}.*{REMOVE}") as error:
        getattr(trainer, command)(small_classifier(data), datamodule=data)
    assert "\n" not in str(error.value) and trainer.global_step == 0


def test_a_module_that_does_not_say_what_it_scores_is_taken_for_one_like_classifier():
    trainer = text_trainer()
    module = Classifier(vocab_size=25, num_inputs=3, num_classes=25, compile="never")
    assert not hasattr(module, "summary_metrics")
    Generalization().setup(trainer, module, "fit")
