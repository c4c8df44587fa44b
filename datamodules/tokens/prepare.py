"""From documents to token shards: streamed, on several cores, and able to go on after a kill."""

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
from tqdm import tqdm

from datamodules.documents.sources import Documents, Piece
from datamodules.tokens.meta import (
    DTYPES,
    META,
    PROGRESS,
    SPLITS,
    Meta,
    SplitMeta,
    checked_shards,
    load_meta,
    token_dtype,
)
from datamodules.tokens.tokenizers import Tokenizer, utf8
from datamodules.tokens.writer import SplitWriter

BATCH = 1 << 18  # characters that a thread encodes at once
CHECKPOINT = 1 << 22  # tokens between two records of the progress
HASHED = 1 << 16  # characters at a document's beginning that decide about its split
LINE_SECONDS = 10.0  # between two lines of progress where there is no terminal


@dataclass
class Batch:
    """Documents, or pieces of one, that are encoded together."""

    pieces: list[Piece] = field(default_factory=list)
    splits: list[int] = field(default_factory=list)  # of each piece, as in SPLITS
    documents: list[int] = field(default_factory=lambda: [0, 0])  # that end here, of each split
    skipped: int = 0
    text_bytes: int = 0
    size: int = 0  # characters
    complete: bool = True  # whether it ends with the end of a document


class EncodingRun:
    """The way from a record of progress to finished shards."""

    def __init__(
        self,
        folder: Path,
        documents: Documents,
        tokenizer: Tokenizer,
        record: Meta,
        progress: bool,
    ) -> None:
        self.folder = folder
        self.documents = documents
        self.tokenizer = tokenizer
        self.record = record
        self.progress = progress
        self.start = position(record)
        self.dtype = DTYPES[record.dtype]
        self.end = np.array([tokenizer.end_of_text], self.dtype)
        shard_tokens = record.settings["shard_tokens"]
        self.writers = [
            SplitWriter(folder, split, record.dtype, shard_tokens, record.splits[split])
            for split in SPLITS
        ]
        self.recorded = self.tokens

    @property
    def tokens(self) -> int:
        """Tokens that have been written."""
        return sum(writer.tokens for writer in self.writers)

    def to_the_end(self, workers: int) -> tuple[int, float]:
        """Encode what is left; returns the number of its tokens and the seconds it took."""
        began, tokens_before = time.perf_counter(), self.tokens
        val_fraction = self.record.settings["val_fraction"]
        stream = batches(self.documents.pieces(self.start), val_fraction)
        pending: deque[tuple[Batch, Future[list[np.ndarray]]]] = deque()
        pool = ThreadPoolExecutor(workers, "prepare")
        report = _Report(self.progress, self.start, tokens_before)
        try:
            for batch in stream:
                pending.append((batch, pool.submit(self.encode, batch)))
                if len(pending) > workers + 2:
                    self.write(*pending.popleft())
                    report.update(position(self.record), self.tokens)
            while pending:
                self.write(*pending.popleft())
            report.update(position(self.record), self.tokens)
            self.finish()
        finally:
            pool.shutdown(cancel_futures=True)
            report.close()
            for writer in self.writers:
                writer.close()
        return self.tokens - tokens_before, time.perf_counter() - began

    def encode(self, batch: Batch) -> list[np.ndarray]:
        """The tokens of each split. Runs in a thread; the tokenizers let go of Python's lock."""
        parts: list[list[np.ndarray]] = [[], []]
        encoded = self.tokenizer.encode_batch([piece.text for piece in batch.pieces])
        for ids, piece, split in zip(encoded, batch.pieces, batch.splits, strict=True):
            parts[split].append(ids)
            if piece.last:
                parts[split].append(self.end)
        return [
            np.concatenate(part, dtype=self.dtype, casting="unsafe") if part else self.end[:0]
            for part in parts
        ]

    def write(self, batch: Batch, tokens: Future[list[np.ndarray]]) -> None:
        """Append a batch, and record the progress from time to time."""
        for writer, ids, ended in zip(self.writers, tokens.result(), batch.documents, strict=True):
            writer.write(ids)
            writer.documents += ended
        self.record.skipped += batch.skipped
        self.record.text_bytes += batch.text_bytes
        for split, writer in zip(SPLITS, self.writers, strict=True):
            self.record.splits[split].documents = writer.documents
        if batch.complete and self.tokens - self.recorded >= CHECKPOINT:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Record what is done, so that another run can go on from here."""
        for split, writer in zip(SPLITS, self.writers, strict=True):
            self.record.splits[split] = writer.checkpoint()
        write_record(self.folder / PROGRESS, self.record)
        self.recorded = self.tokens

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
                    f"all {val.documents} documents were held out and none is left to train on; "
                    f"lower val_fraction, or give more documents"
                )
            raise ValueError(
                f"there is nothing to train on: the source has no document with text "
                f"({self.record.skipped} are empty); check the files and the text field"
            )
        for split, writer in zip(SPLITS, self.writers, strict=True):
            writer.finish()
            self.record.splits[split] = writer.checkpoint()
        write_record(self.folder / META, self.record)
        (self.folder / PROGRESS).unlink()


class _Report:
    """Tells the progress: a bar on a terminal, a line from time to time in a file."""

    def __init__(self, wanted: bool, documents: int, tokens: int) -> None:
        bar = wanted and sys.stderr.isatty()
        self.bar = tqdm(initial=documents, unit=" documents", unit_scale=True) if bar else None
        self.lines = wanted and not bar
        self.began = self.last = time.perf_counter()
        self.tokens_before = tokens

    def update(self, documents: int, tokens: int) -> None:
        """So many are done, those of earlier runs included."""
        now = time.perf_counter()
        speed = (tokens - self.tokens_before) / max(now - self.began, 1e-9)
        if self.bar is not None:
            self.bar.set_postfix_str(f"{speed / 1e6:.2f}M tokens/s", refresh=False)
            self.bar.update(documents - self.bar.n)
        elif self.lines and now - self.last >= LINE_SECONDS:
            self.last = now
            text = f"{documents:,} documents, {tokens:,} tokens, {speed:,.0f} tokens/s"
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:
            self.bar.close()


def batches(pieces: Iterable[Piece], val_fraction: float) -> Iterator[Batch]:
    """Group pieces; a document in several begins a batch, so that most end with a document."""
    batch = Batch()
    split, inside = 0, False
    for piece in pieces:
        if not inside:
            if not piece.text:
                batch.skipped += 1
                continue
            if not piece.last and batch.pieces:
                yield batch
                batch = Batch()
            split = split_of(piece.text, val_fraction)
        inside = not piece.last
        batch.pieces.append(piece)
        batch.splits.append(split)
        batch.documents[split] += piece.last
        batch.complete = piece.last
        batch.text_bytes += len(utf8(piece.text))
        batch.size += len(piece.text)
        if batch.size >= BATCH:
            yield batch
            batch = Batch()
    if batch.pieces or batch.skipped:
        yield batch


def split_of(text: str, val_fraction: float) -> int:
    """The number of the split that a document belongs to, from its first piece."""
    digest = hashlib.blake2b(utf8(text[:HASHED]), digest_size=8).digest()
    return int(int.from_bytes(digest, "little") < val_fraction * 2**64)


def position(record: Meta) -> int:
    """How many documents of the source are done."""
    return record.skipped + sum(split.documents for split in record.splits.values())


def write_record(path: Path, record: Meta) -> None:
    """Write a file so that it is either there as a whole or not at all."""
    draft = path.with_name(f"{path.name}.partial")
    with draft.open("w") as file:
        file.write(record.to_json())
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


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
