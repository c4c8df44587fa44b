"""A text classifier that was trained on planted key words, for all tests of probes of texts."""

from __future__ import annotations

import pytest

from tests.helpers.planted_words import Trained, trained_classifier


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    """Trained once; tests must not change the weights."""
    return trained_classifier(tmp_path_factory.mktemp("planted"))
