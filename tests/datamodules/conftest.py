"""A corpus to prepare, and batches so small that it has many, for all tests of preparing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datamodules.documents import sources as documents
from datamodules.documents.sources import FileDocuments
from datamodules.tokens import prepare as encoding_run
from tests.helpers.prepared_corpus import corpus


@pytest.fixture
def source(tmp_path: Path) -> FileDocuments:
    """Three hundred documents of one compressed file."""
    corpus(tmp_path / "corpus.jsonl.gz")
    return FileDocuments(str(tmp_path / "corpus.jsonl.gz"))


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches, pieces and steps of progress so small that a short text has many of them."""
    monkeypatch.setattr(documents, "PIECE", 100)
    monkeypatch.setattr(encoding_run, "BATCH", 150)
    monkeypatch.setattr(encoding_run, "HASHED", 40)
    monkeypatch.setattr(encoding_run, "CHECKPOINT", 700)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # only a power failure would tell
