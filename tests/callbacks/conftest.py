"""A text classifier that was trained on planted key words, for all tests of probes of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.helpers.planted_words import planted_data, small_classifier, text_trainer, write_planted


class Trained(NamedTuple):
    """Weights that know the key words, the data module, and the folder of its tables."""

    model: Any
    data: Any
    folder: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    """Trained once; tests must leave the weights alone."""
    folder = write_planted(tmp_path_factory.mktemp("planted"))
    data = planted_data(folder)
    model = small_classifier(data, lambda_importance=0.3, lambda_interaction=0.1)
    text_trainer(max_epochs=8, limit_val_batches=0).fit(model, datamodule=data)
    model.zero_grad(set_to_none=True)
    return Trained(model.eval(), data, folder)
