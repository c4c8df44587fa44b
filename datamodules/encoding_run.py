"""The work of a preparation: group documents, encode them in threads, write them in order."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from datamodules.documents import Documents, Piece
from datamodules.shard_meta import DTYPES, META, PROGRESS, SPLITS, Meta
from datamodules.shard_writer import SplitWriter
from datamodules.tokenizers import Tokenizer, utf8

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
