"""From documents to token shards: streamed, multi-threaded, and resumable after a kill."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from tqdm import tqdm

from datamodules.common.options import check_at_least
from datamodules.documents.sources import Documents, Piece
from datamodules.tokens.meta import (
    DTYPES,
    META,
    PROGRESS,
    SPLITS,
    Meta,
    ShardSplit,
    checked_shards,
    load_meta,
    token_dtype,
)
from datamodules.tokens.tokenizers import Tokenizer, utf8
from datamodules.tokens.writer import SplitWriter

SHARD_TOKENS = 100_000_000  # tokens per file
BATCH_CHARS = 1 << 18  # characters that a thread encodes at once
CHECKPOINT_TOKENS = 1 << 22  # tokens between two records of the progress
HASHED_CHARS = 1 << 16  # leading characters of a document that determine its split
LOG_SECONDS = 10.0  # between two updates of the progress bar if stderr is not a terminal


@dataclass
class Summary:
    """Result of a preparation; printing it gives a table.

    Attributes:
        folder: Where the shards are.
        meta: Their description.
        new_tokens: Tokens encoded by this run.
        seconds: Duration of this run.
        resumed_at: Documents, including empty ones, that an earlier run had done.
        already_done: Whether an earlier run had finished.
    """

    folder: Path
    meta: Meta
    new_tokens: int = 0
    seconds: float = 0.0
    resumed_at: int = 0
    already_done: bool = False

    @property
    def documents(self) -> int:
        """Documents in both splits."""
        return sum(split.documents for split in self.meta.splits.values())

    @property
    def tokens(self) -> int:
        """Tokens in both splits, including one end of text per document."""
        return sum(split.tokens for split in self.meta.splits.values())

    @property
    def tokens_per_second(self) -> float:
        """Tokens encoded by this run per second."""
        return self.new_tokens / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        """A few lines for the terminal."""
        meta = self.meta
        lines = [f"{self.folder}: {self.documents:,} documents, {self.tokens:,} tokens"]
        for name, split in meta.splits.items():
            lines.append(f"  {name:7}  {split.documents:,} documents, {split.tokens:,} tokens")
        bytes_per_token = meta.text_bytes / self.tokens
        lines.append(f"  text     {meta.text_bytes:,} bytes, {bytes_per_token:.2f} per token")
        if meta.skipped:
            lines.append(f"  skipped  {meta.skipped:,} empty documents")
        if self.already_done:
            lines.append("  nothing to do: the same data were prepared before")
        else:
            speed = f"{self.tokens_per_second:,.0f} tokens per second"
            lines.append(f"  time     {self.seconds:.1f} s, {speed}")
            if self.resumed_at:
                lines.append(f"  resumed after {self.resumed_at:,} documents of an earlier run")
        if not meta.splits["val"].tokens:
            hint = "raise val_fraction" if self.documents > 1 else "split the text into more files"
            lines.append(f"  warning: no document is held out for validation; {hint}")
        return "\n".join(lines)


def prepare(
    documents: Documents,
    folder: str | Path,
    tokenizer: Tokenizer,
    val_fraction: float = 0.0005,
    workers: int | None = None,
) -> Summary:
    """Write documents as token shards (see ``tokens.meta``), with an end of text after each.

    The result depends on the documents, the tokenizer and ``val_fraction`` alone, not on the number
    of threads or on interruptions. Run it again to resume after a kill. Memory does not grow with
    the number of documents.

    Args:
        documents: The source.
        folder: Where to write; created if necessary.
        tokenizer: Encodes the documents.
        val_fraction: Fraction of documents to hold out. A checksum of a document's beginning
            decides, so that copies of a document are in the same split.
        workers: Number of encoding threads; None takes one per core.

    Raises:
        ValueError: An option is out of range, the source is broken or empty, or the folder has
            other content.
        OSError: The folder cannot be written to.
    """
    if not 0.0 <= val_fraction < 1.0:
        raise ValueError(f"val_fraction is {val_fraction}; it must be at least 0 and below 1")
    check_at_least(1, workers=workers)
    folder = Path(folder)
    settings = {
        **documents.describe(),
        "tokenizer": tokenizer.fingerprint,
        "val_fraction": val_fraction,
        "shard_tokens": SHARD_TOKENS,
    }
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; choose a folder for the shards")
    folder.mkdir(parents=True, exist_ok=True)
    with _exclusive(folder):
        record = _earlier_record(folder, settings)
        if record is not None and (folder / META).exists():
            (folder / PROGRESS).unlink(missing_ok=True)
            return Summary(folder, record, already_done=True)
        if record is None:
            record = Meta(
                tokenizer.name,
                tokenizer.vocab_size,
                tokenizer.end_of_text,
                token_dtype(tokenizer.vocab_size),
                {split: ShardSplit() for split in SPLITS},
                settings=settings,
            )
            write_record(folder / PROGRESS, record)
        return PrepareJob(folder, documents, tokenizer, record).run(workers or _num_cores())


def _num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system releases if the process is killed."""
    path = folder / ".lock"
    try:
        with FileLock(path, timeout=0):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
    except Timeout as error:
        raise ValueError(
            f"another process is preparing {folder}; wait for it, or choose another folder"
        ) from error


def _earlier_record(folder: Path, settings: dict[str, Any]) -> Meta | None:
    """The record of an earlier run of the same preparation, finished or not."""
    for name in (META, PROGRESS):
        path = folder / name
        if not path.exists():
            continue
        record = load_meta(path)
        before = record.settings
        differing = [
            key for key in {**settings, **before} if settings.get(key, "") != before.get(key, "")
        ]
        if differing and name == PROGRESS and num_done(record) == 0:
            return None  # nothing is lost by starting anew
        if differing:
            then = ", ".join(f"{key}={before.get(key, 'none')}" for key in differing)
            now = ", ".join(f"{key}={settings.get(key, 'none')}" for key in differing)
            raise ValueError(
                f"{folder} was prepared with {then} but this run uses {now}. Use the former, "
                f"choose another folder, or delete this one"
            )
        if name == META:
            for split in (split for split in SPLITS if record.splits[split].shards):
                checked_shards(folder, split, record)
        return record
    foreign = [path.name for split in SPLITS for path in folder.glob(f"{split}*.bin*")]
    if foreign:
        raise ValueError(
            f"{folder} has {min(foreign)} but no {META}, so it was not prepared here; choose "
            f"another folder, or empty this one"
        )
    return None


@dataclass
class Batch:
    """Documents, or pieces of one, that are encoded together."""

    pieces: list[Piece] = field(default_factory=list)
    splits: list[int] = field(default_factory=list)  # index into SPLITS of each piece
    documents: list[int] = field(default_factory=lambda: [0, 0])  # ending here, per split
    skipped: int = 0
    text_bytes: int = 0
    num_chars: int = 0
    complete: bool = True  # whether it ends with the end of a document


def batches(pieces: Iterable[Piece], val_fraction: float) -> Iterator[Batch]:
    """Group pieces; a document of several pieces starts a batch, so most end with a document."""
    batch = Batch()
    split, inside_document = 0, False
    for piece in pieces:
        if not inside_document:
            if not piece.text:
                batch.skipped += 1
                continue
            if not piece.last and batch.pieces:
                yield batch
                batch = Batch()
            split = split_of(piece.text, val_fraction)
        inside_document = not piece.last
        batch.pieces.append(piece)
        batch.splits.append(split)
        batch.documents[split] += piece.last
        batch.complete = piece.last
        batch.text_bytes += len(utf8(piece.text))
        batch.num_chars += len(piece.text)
        if batch.num_chars >= BATCH_CHARS:
            yield batch
            batch = Batch()
    if batch.pieces or batch.skipped:
        yield batch


def split_of(text: str, val_fraction: float) -> int:
    """Index into ``SPLITS`` of a document, from its first piece."""
    digest = hashlib.blake2b(utf8(text[:HASHED_CHARS]), digest_size=8).digest()
    return int(int.from_bytes(digest, "little") < val_fraction * 2**64)


class PrepareJob:
    """Encodes and writes what a record of the progress lacks."""

    def __init__(
        self, folder: Path, documents: Documents, tokenizer: Tokenizer, record: Meta
    ) -> None:
        self.folder = folder
        self.documents = documents
        self.tokenizer = tokenizer
        self.record = record
        self.dtype = DTYPES[record.dtype]
        self.end_of_text = np.array([tokenizer.end_of_text], self.dtype)
        shard_tokens = record.settings["shard_tokens"]
        self.writers = [
            SplitWriter(folder, split, record.dtype, shard_tokens, record.splits[split])
            for split in SPLITS
        ]
        self.recorded_tokens = self.tokens

    @property
    def tokens(self) -> int:
        """Number of tokens written."""
        return sum(writer.tokens for writer in self.writers)

    def run(self, num_threads: int) -> Summary:
        """Encode the remaining documents and complete the folder."""
        start, tokens_before, began = num_done(self.record), self.tokens, time.perf_counter()
        stream = batches(self.documents.pieces(start), self.record.settings["val_fraction"])
        pending: deque[tuple[Batch, Future[list[np.ndarray]]]] = deque()
        pool = ThreadPoolExecutor(num_threads, "prepare")
        bar = tqdm(
            initial=start,
            unit=" documents",
            unit_scale=True,
            mininterval=0.1 if sys.stderr.isatty() else LOG_SECONDS,
        )

        def write_next() -> None:
            self.write(*pending.popleft())
            speed = (self.tokens - tokens_before) / (time.perf_counter() - began)
            bar.set_postfix_str(f"{speed / 1e6:.2f}M tokens/s", refresh=False)
            bar.update(num_done(self.record) - bar.n)

        try:
            for batch in stream:
                pending.append((batch, pool.submit(self.encode, batch)))
                if len(pending) > num_threads + 2:
                    write_next()
            while pending:
                write_next()
            self.finish()
        finally:
            pool.shutdown(cancel_futures=True)
            bar.close()
            for writer in self.writers:
                writer.close()
        seconds = time.perf_counter() - began
        return Summary(self.folder, self.record, self.tokens - tokens_before, seconds, start)

    def encode(self, batch: Batch) -> list[np.ndarray]:
        """The tokens of each split. Runs in a thread; tokenizers release Python's lock."""
        parts: list[list[np.ndarray]] = [[], []]
        encoded = self.tokenizer.encode_batch([piece.text for piece in batch.pieces])
        for ids, piece, split in zip(encoded, batch.pieces, batch.splits, strict=True):
            parts[split].append(ids)
            if piece.last:
                parts[split].append(self.end_of_text)
        return [
            np.concatenate(part, dtype=self.dtype, casting="unsafe")
            if part
            else self.end_of_text[:0]
            for part in parts
        ]

    def write(self, batch: Batch, tokens: Future[list[np.ndarray]]) -> None:
        """Append a batch, and record the progress from time to time."""
        for split, writer, ids, documents in zip(
            SPLITS, self.writers, tokens.result(), batch.documents, strict=True
        ):
            writer.write(ids)
            writer.documents += documents
            self.record.splits[split].documents = writer.documents
        self.record.skipped += batch.skipped
        self.record.text_bytes += batch.text_bytes
        if batch.complete and self.tokens - self.recorded_tokens >= CHECKPOINT_TOKENS:
            self.record_progress(PROGRESS)

    def record_progress(self, name: str) -> None:
        """Flush the shards and write the record, from which another run can resume."""
        for split, writer in zip(SPLITS, self.writers, strict=True):
            self.record.splits[split] = writer.checkpoint()
        write_record(self.folder / name, self.record)
        self.recorded_tokens = self.tokens

    def finish(self) -> None:
        """Complete the last shards and write meta.json."""
        train, val = self.writers
        if not train.tokens:
            for writer in self.writers:
                writer.close()
            for path in [self.folder / PROGRESS, *self.folder.glob("*.partial")]:
                path.unlink()
            if val.tokens:
                raise ValueError(
                    f"all {val.documents} documents were held out and none is left for training; "
                    f"lower val_fraction, or add documents"
                )
            raise ValueError(
                f"the source has no document with text ({self.record.skipped} are empty); check "
                f"the files and the text field"
            )
        for writer in self.writers:
            writer.finish()
        self.record_progress(META)
        (self.folder / PROGRESS).unlink()


def num_done(record: Meta) -> int:
    """Number of documents of the source that a record includes."""
    return record.skipped + sum(split.documents for split in record.splits.values())


def write_record(path: Path, record: Meta) -> None:
    """Write a record atomically."""
    draft = path.with_name(f"{path.name}.partial")
    with draft.open("w") as file:
        file.write(record.to_json())
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
