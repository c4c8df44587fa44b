"""Writing of one split's shards, so that it can be killed at any moment and go on later."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from datamodules.tokens.meta import DTYPES, Shard, SplitMeta

REDO = "delete the folder and prepare it from the beginning"


class SplitWriter:
    """Appends token ids to a split's shards.

    A shard is a ``.partial`` file until it is full, so that a ``.bin`` is always whole.

    Args:
        folder: Where the shards go.
        split: 'train' or 'val'.
        dtype: How ids are stored.
        shard_tokens: Tokens per shard; the last one has fewer.
        state: Where to go on: what ``checkpoint`` returned. Whatever was written after it is cut
            off, since nothing tells whether it is whole.

    Raises:
        ValueError: The files hold less than ``state`` says.
    """

    def __init__(
        self, folder: Path, split: str, dtype: str, shard_tokens: int, state: SplitMeta
    ) -> None:
        self.folder = folder
        self.split = split
        self.dtype = DTYPES[dtype]
        self.shard_tokens = shard_tokens
        self.documents = state.documents
        self.tokens = state.tokens
        self._closed = [shard for shard in state.shards if shard.sha256]
        self._shard: Shard | None = None  # the one that is being written, its file, its checksum
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._clear(state)
        unfinished = [shard for shard in state.shards if not shard.sha256]
        if unfinished:
            self._reopen(unfinished[0])

    def write(self, ids: np.ndarray) -> None:
        """Append ids, which must have the type they are stored in."""
        while len(ids):
            if self._shard is None or self._file is None:
                self._shard = Shard(f"{self.split}_{len(self._closed):06d}.bin", 0, "", -1)
                self._file = self._partial(self._shard).open("wb")
                self._hash = hashlib.sha256()
            shard = self._shard
            part = ids[: self.shard_tokens - shard.tokens]
            with _named(self._partial(shard)):
                self._file.write(part.data)
            self._hash.update(part.data)
            shard.tokens += len(part)
            shard.largest = max(shard.largest, int(part.max()))
            self.tokens += len(part)
            if shard.tokens == self.shard_tokens:
                self.finish()
            ids = ids[len(part) :]

    def checkpoint(self) -> SplitMeta:
        """Make sure that all is on the disk; returns the state to go on from."""
        shards = list(self._closed)
        if self._shard is not None and self._file is not None:
            self._sync()
            shards.append(replace(self._shard))
        return SplitMeta(self.documents, self.tokens, shards)

    def finish(self) -> None:
        """Complete the shard that is being written."""
        if self._shard is None or self._file is None:
            return
        self._sync()
        self._file.close()
        partial = self._partial(self._shard)
        os.replace(partial, self.folder / self._shard.name)
        self._shard.sha256 = self._hash.hexdigest()
        self._closed.append(self._shard)
        self._shard = self._file = None

    def close(self) -> None:
        """Close the file and leave everything as it is."""
        if self._file is not None:
            with _named(self.folder):
                self._file.close()
            self._shard = self._file = None

    def _partial(self, shard: Shard) -> Path:
        return self.folder / f"{shard.name}.partial"

    def _sync(self) -> None:
        if self._shard is not None and self._file is not None:
            with _named(self._partial(self._shard)):
                self._file.flush()
                os.fsync(self._file.fileno())

    def _clear(self, state: SplitMeta) -> None:
        """Take away shards that were begun after the state was recorded."""
        known = {shard.name for shard in state.shards}
        for path in self.folder.glob(f"{self.split}_*.bin*"):
            if path.name.removesuffix(".partial") not in known:
                path.unlink()
        for shard in self._closed:
            path = self.folder / shard.name
            if not path.is_file() or path.stat().st_size != shard.tokens * self.dtype.itemsize:
                raise ValueError(
                    f"{path}, which an earlier run completed, is missing or has changed; {REDO}"
                )

    def _reopen(self, shard: Shard) -> None:
        """Go on with a shard; it may have been completed after the state was recorded."""
        partial = self._partial(shard)
        whole = self.folder / shard.name
        if whole.exists():
            os.replace(whole, partial)
        size = shard.tokens * self.dtype.itemsize
        if not partial.exists() or partial.stat().st_size < size:
            raise ValueError(
                f"{partial} holds less than its {shard.tokens} recorded tokens, or is missing; "
                f"{REDO}"
            )
        os.truncate(partial, size)
        self._shard = replace(shard)
        with partial.open("rb") as file:
            self._hash = hashlib.sha256()
            while chunk := file.read(1 << 22):
                self._hash.update(chunk)
        self._file = partial.open("ab")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Gives errors the name of the file: writing to an open one fails without it."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
