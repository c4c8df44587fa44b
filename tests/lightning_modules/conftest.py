"""How the tests of fused losses cut their few tokens into many chunks."""

from __future__ import annotations

import pytest

from lightning_modules.heads.fused import chunks
from tests.helpers.exact_losses import FLOATS


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks of tokens, several blocks of rows in each, and neither comes out even."""
    monkeypatch.setattr(chunks, "CHUNK_ON_CPU", dict.fromkeys(FLOATS, 5))
    monkeypatch.setattr(chunks, "ROWS_ON_CPU", 2)
