"""From documents to token shards: streamed, on several cores, and able to go on after a kill."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.documents import Documents
from datamodules.encoding_run import EncodingRun, position, write_record
from datamodules.shard_meta import (
    META,
    PROGRESS,
    SPLITS,
    Meta,
    SplitMeta,
    checked_shards,
    load_meta,
    token_dtype,
)
from datamodules.tokenizers import Tokenizer


@dataclass
class Summary:
    """What a preparation has made.

    Attributes:
        folder: Where the shards are.
        documents: Documents in both splits.
        skipped: Empty documents, which were left out.
        train_documents: Documents that are trained on.
        train_tokens: Their tokens, the ones between documents included.
        val_documents: Documents that are held out.
        val_tokens: Their tokens.
        text_bytes: Size of all text in UTF-8.
        seconds: How long this run took.
        tokens_per_second: Tokens of this run per second.
        continued_at: Documents, empty ones included, that an earlier run had done.
        finished_before: Whether there was nothing left to do.
    """

    folder: Path
    documents: int
    skipped: int
    train_documents: int
    train_tokens: int
    val_documents: int
    val_tokens: int
    text_bytes: int
    seconds: float
    tokens_per_second: float
    continued_at: int = 0
    finished_before: bool = False

    def __str__(self) -> str:
        """Some lines for the terminal."""
        tokens = self.train_tokens + self.val_tokens
        lines = [
            f"{self.folder}: {self.documents:,} documents, {tokens:,} tokens",
            f"  train    {self.train_documents:,} documents, {self.train_tokens:,} tokens",
            f"  val      {self.val_documents:,} documents, {self.val_tokens:,} tokens",
            f"  text     {self.text_bytes:,} bytes, {self.text_bytes / tokens:.2f} a token",
        ]
        if self.skipped:
            lines.append(f"  skipped  {self.skipped:,} empty documents")
        if self.finished_before:
            lines.append("  nothing to do: the same data were prepared before")
        else:
            speed = f"{self.tokens_per_second:,.0f} tokens per second"
            lines.append(f"  time     {self.seconds:.1f} s, {speed}")
        if self.continued_at and not self.finished_before:
            lines.append(f"  went on after {self.continued_at:,} documents of an earlier run")
        if not self.val_tokens:
            lines.append(
                "  warning: no document is held out, so there is nothing to validate on; "
                + (
                    "raise val_fraction"
                    if self.documents > 1
                    else "cut the text into several files"
                )
            )
        return "\n".join(lines)


def prepare(
    documents: Documents,
    folder: str | Path,
    tokenizer: Tokenizer,
    val_fraction: float = 0.0005,
    shard_tokens: int = 100_000_000,
    workers: int | None = None,
    progress: bool = True,
) -> Summary:
    """Turn documents into token shards (see ``shard_meta``), each document and an end of text.

    What is written depends on the documents, the tokenizer and the two numbers alone, and not on
    the number of threads or on interruptions. A run that was killed goes on where it was when it is
    started again. Memory does not grow with the corpus nor with its longest document, which is
    encoded in pieces.

    Args:
        documents: The source.
        folder: Where the shards go; it is made if need be.
        tokenizer: Encodes them.
        val_fraction: Share of documents to hold out. A checksum of a document's beginning decides,
            so that copies of a document are on the same side.
        shard_tokens: Tokens per file.
        workers: Threads that encode; null takes as many as there are cores.
        progress: Whether to tell the progress on stderr.

    Raises:
        ValueError: A number is out of range, the source is broken or has nothing to train on, or
            the folder holds something else.
        OSError: The folder cannot be written to.
    """
    if not 0.0 <= val_fraction < 1.0:
        raise ValueError(f"val_fraction is {val_fraction}; it must be at least 0 and below 1")
    if shard_tokens < 1:
        raise ValueError(f"shard_tokens is {shard_tokens}; it must be at least 1")
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; it must be at least 1, or null for every core")
    folder = Path(folder)
    settings = {
        **documents.describe(),
        "tokenizer": tokenizer.fingerprint,
        "val_fraction": val_fraction,
        "shard_tokens": shard_tokens,
    }
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder for the shards")
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder):
        record = _earlier(folder, settings)
        if record is not None and (folder / META).exists():
            _check_finished(folder, record)
            (folder / PROGRESS).unlink(missing_ok=True)
            return _summary(folder, record, 0, 0.0, finished_before=True)
        if record is None:
            record = Meta(
                tokenizer.name,
                tokenizer.vocab_size,
                tokenizer.end_of_text,
                token_dtype(tokenizer.vocab_size),
                {split: SplitMeta() for split in SPLITS},
                settings=settings,
            )
            write_record(folder / PROGRESS, record)
        run = EncodingRun(folder, documents, tokenizer, record, progress)
        start = position(record)
        tokens, seconds = run.to_the_end(workers or _cores())
        return _summary(folder, record, tokens, seconds, start)


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _earlier(folder: Path, settings: dict[str, Any]) -> Meta | None:
    """The record of an earlier run, finished or not, that was the same as this one."""
    for name in (META, PROGRESS):
        path = folder / name
        if not path.exists():
            continue
        record = load_meta(path)
        keys = [*settings, *(key for key in record.settings if key not in settings)]
        other = [key for key in keys if settings.get(key) != record.settings.get(key)]
        if other and name == PROGRESS and position(record) == 0:
            return None  # nothing is lost by beginning anew
        if other:
            then = ", ".join(f"{key} {record.settings.get(key, 'none')}" for key in other)
            now = ", ".join(f"{key} {settings.get(key, 'none')}" for key in other)
            raise ValueError(
                f"{folder} {'holds shards' if name == META else 'was begun'} with {then}, and now "
                f"it is {now}; go back to that, name another folder, or delete this one"
            )
        return record
    foreign = [path.name for split in SPLITS for path in folder.glob(f"{split}*.bin*")]
    if foreign:
        raise ValueError(
            f"{folder} holds {sorted(foreign)[0]}, which was not made here; name another folder, "
            f"or delete what is in this one"
        )
    return None


def _check_finished(folder: Path, record: Meta) -> None:
    for split in SPLITS:
        if record.splits[split].shards:
            try:
                checked_shards(folder, split, record)
            except ValueError as error:
                raise ValueError(f"{error}: delete {folder} first") from error


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Keep other runs out of the folder; the lock goes with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ValueError(
            f"another run is preparing {folder}; wait for it, or name another folder"
        ) from error
    finally:
        os.close(handle)


def _summary(
    folder: Path,
    record: Meta,
    tokens: int,
    seconds: float,
    continued_at: int = 0,
    finished_before: bool = False,
) -> Summary:
    train, val = (record.splits[split] for split in SPLITS)
    return Summary(
        folder=folder,
        documents=train.documents + val.documents,
        skipped=record.skipped,
        train_documents=train.documents,
        train_tokens=train.tokens,
        val_documents=val.documents,
        val_tokens=val.tokens,
        text_bytes=record.text_bytes,
        seconds=seconds,
        tokens_per_second=tokens / seconds if seconds else 0.0,
        continued_at=continued_at,
        finished_before=finished_before,
    )
