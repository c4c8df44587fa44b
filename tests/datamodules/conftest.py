"""A corpus to prepare, and batches so small that it has many."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datamodules.documents import sources
from datamodules.documents.sources import FileDocuments
from datamodules.tokens import prepare
from tests.helpers.prepared_corpus import corpus


@pytest.fixture
def source(tmp_path: Path) -> FileDocuments:
    """Three hundred documents of one compressed file."""
    corpus(tmp_path / "corpus.jsonl.gz")
    return FileDocuments(str(tmp_path / "corpus.jsonl.gz"))


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes so small that a short text has many pieces, batches, records and shards."""
    monkeypatch.setattr(sources, "PIECE", 100)
    monkeypatch.setattr(prepare, "BATCH_CHARS", 150)
    monkeypatch.setattr(prepare, "HASHED_CHARS", 40)
    monkeypatch.setattr(prepare, "CHECKPOINT_TOKENS", 700)
    monkeypatch.setattr(prepare, "SHARD_TOKENS", 5000)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # only a power failure would matter
